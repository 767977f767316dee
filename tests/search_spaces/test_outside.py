"""Recipes from outside the checkout: folders, and packages that are installed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import search_spaces
import trainables
from search_spaces import InputError, add_recipes, recipes, space_of
from search_spaces._outside import add_installed_recipes
from trainables._protocol import build_of, train_of
from tune.settings import load, make

PROBE = Path(__file__).parent.parent / "recipes"


def written(folder: Path, name: str) -> Path:
    """A folder with the recipe for tests under another name."""
    for package in ("search_spaces", "trainables"):
        code = (PROBE / package / "probe.py").read_text().replace("search_spaces.probe", f"search_spaces.{name}")
        (folder / package).mkdir(parents=True, exist_ok=True)
        (folder / package / f"{name}.py").write_text(code)
    return folder


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test makes known is unknown to the next."""
    caches = (space_of, train_of, build_of, add_installed_recipes)
    before = set(sys.modules)
    for package in (search_spaces, trainables):
        monkeypatch.setattr(package, "__path__", list(package.__path__))
    yield
    for name in set(sys.modules) - before:
        if name.rpartition(".")[0] in ("search_spaces", "trainables"):
            del sys.modules[name]
    for cached in caches:
        cached.cache_clear()


def test_a_folder_of_recipes_is_known_as_if_it_lay_in_the_checkout(tmp_path: Path) -> None:
    folder = written(tmp_path, "mine")
    assert add_recipes(folder) == add_recipes(str(folder)) == ("mine",)
    assert recipes().count("mine") == 1
    assert space_of("mine").__module__ == "search_spaces.mine"
    assert train_of("mine").__module__ == "trainables.mine"


def test_a_recipe_from_outside_may_have_modules_of_its_own(tmp_path: Path) -> None:
    folder = written(tmp_path, "mine")
    (folder / "trainables" / "_mine_layers.py").write_text("WIDTH = 3\n")
    with (folder / "trainables" / "mine.py").open("a") as file:
        file.write("\nfrom trainables._mine_layers import WIDTH\n")
    add_recipes(folder)
    assert sys.modules[train_of("mine").__module__].WIDTH == 3
    assert "_mine_layers" not in recipes()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no recipes: a recipe is search_spaces/NAME.py and trainables/NAME.py in it"),
        (["search_spaces/mine.py"], "mine has no trainables/mine.py"),
        (["trainables/mine.py"], "mine has no search_spaces/mine.py"),
        (["search_spaces/knn.py", "trainables/knn.py"], "search_spaces/knn.py has the name of one in "),
        (
            ["search_spaces/mine.py", "trainables/mine.py", "trainables/_fit.py"],
            "trainables/_fit.py has the name of one in ",
        ),
    ],
)
def test_a_folder_that_is_laid_out_otherwise_is_refused(tmp_path: Path, files: list[str], message: str) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    before = recipes()
    with pytest.raises(InputError) as error:
        add_recipes(tmp_path)
    assert str(error.value).startswith(f"--recipes {tmp_path}: ")
    assert message in str(error.value)
    assert recipes() == before


def test_two_folders_with_a_recipe_of_one_name_are_refused(tmp_path: Path) -> None:
    add_recipes(written(tmp_path / "a", "mine"))
    with pytest.raises(InputError, match=f"has the name of one in {tmp_path}/a/search_spaces; rename it"):
        add_recipes(written(tmp_path / "b", "mine"))


def test_an_installed_package_brings_its_recipes(tmp_path: Path) -> None:
    """In a process of its own, as the list of packages is read once."""
    written(tmp_path / "my_recipes", "mine")
    (tmp_path / "my_recipes" / "__init__.py").write_text("raise RuntimeError('there is no need to import it')\n")
    (tmp_path / "my_recipes-1.dist-info").mkdir()
    (tmp_path / "my_recipes-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: my_recipes\nVersion: 1\n"
    )
    points = tmp_path / "my_recipes-1.dist-info" / "entry_points.txt"
    points.write_text("[toprung.recipes]\nmy_recipes = my_recipes\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r})\nfrom tune.cli import main; sys.exit(main(['recipes']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nmine: A recipe for tests" in done.stdout


def test_settings_name_the_recipes_of_a_folder_and_record_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "recipes_of_mine", "mine")
    written(tmp_path / "recipes_of_mine", "other")
    monkeypatch.chdir(tmp_path)
    settings = make({"recipes": "knn,./recipes_of_mine", "set": {"mine.skill": "0.1"}})
    assert settings.recipes == ("knn", "mine", "other")
    assert settings.recipes_from == (str(tmp_path / "recipes_of_mine"),)
    (tmp_path / "settings.yaml").write_text(settings.dump())
    assert make(load(tmp_path / "settings.yaml")) == settings
    assert make({**settings.model_dump(), "recipes": "knn,./recipes_of_mine"}) == settings
    assert make({"recipes": "other", "recipes_from": "recipes_of_mine"}).recipes == ("other",)


@pytest.mark.parametrize("values", [{"recipes": [3]}, {"recipes_from": 3}])
def test_settings_that_are_no_folders_are_refused_by_their_type(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match="should be a valid"):
        make(values)
