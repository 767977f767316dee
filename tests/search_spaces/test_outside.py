"""Recipes from outside the checkout: folders and installed packages."""

import inspect
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from safetensors.torch import save_file

import search_spaces
from search_spaces import DataShape, InputError, add_recipes, recipes, space_of
from trainables import Classifier
from trainables.training.protocol import build_of, train_of
from tune.experiment.trial_context import TrialContext
from tune.settings.objective import Objective
from tune.settings.settings import make
from tune.settings.settings_file import load

pytestmark = pytest.mark.usefixtures("_forgets_recipes")

PROBE = Path(__file__).parent.parent / "recipes"


def written(folder: Path, name: str) -> Path:
    """A folder with the recipe for tests under another name."""
    for package in ("search_spaces", "trainables"):
        code = (PROBE / package / "probe.py").read_text().replace("search_spaces.probe", f"search_spaces.{name}")
        (folder / package).mkdir(parents=True, exist_ok=True)
        (folder / package / f"{name}.py").write_text(code)
    return folder


def test_a_folder_of_recipes_is_known_as_if_it_lay_in_the_checkout(tmp_path: Path) -> None:
    folder = written(tmp_path, "mine")
    assert add_recipes(folder) == add_recipes(str(folder)) == ("mine",)
    assert recipes().count("mine") == search_spaces.__path__.count(str(folder / "search_spaces")) == 1
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


def test_a_folder_of_modules_beside_recipes_is_no_recipe_and_joins_ours_of_its_name(tmp_path: Path) -> None:
    folder = written(tmp_path, "mine")
    for name in ("training", "my_blocks"):
        (folder / "trainables" / name).mkdir()
        (folder / "trainables" / name / "__init__.py").touch()
    (folder / "trainables" / "training" / "my_width.py").write_text("WIDTH = 3\n")
    (folder / "trainables" / "my_blocks" / "wide.py").write_text("from trainables.training.my_width import WIDTH\n")
    with (folder / "trainables" / "mine.py").open("a") as file:
        file.write("\nfrom trainables.my_blocks.wide import WIDTH\n")
    assert add_recipes(folder) == ("mine",)
    assert sys.modules[train_of("mine").__module__].WIDTH == 3


@pytest.mark.parametrize("name", ["data", "training", "shared", "space"])
def test_a_recipe_may_have_the_name_of_a_folder_of_ours(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path, name)
    assert add_recipes(folder) == (name,)
    assert name in recipes()
    assert space_of(name).__name__ == "Probe"
    assert Path(inspect.getfile(train_of(name))) == folder / "trainables" / f"{name}.py"
    assert train_of("mlp")
    from trainables.data import TrainData  # ours are still there

    assert TrainData.__module__ == "trainables.data.load"


def test_the_recipe_that_the_readme_of_version_0_1_showed_still_loads_with_a_warning(readme_recipe: Path) -> None:
    file = readme_recipe / "trainables" / "linear.py"
    new = """from trainables.data import TrainData
from trainables.training import Epoch, Metrics, State, fit, preprocess_of
"""
    old = """from trainables._data import TrainData
from trainables._fit import fit
from trainables._preprocess import preprocess_of
from trainables._protocol import Epoch, Metrics, State
"""
    assert new in file.read_text()
    file.write_text(file.read_text().replace(new, old))
    add_recipes(readme_recipe)
    with pytest.warns(DeprecationWarning, match="goes in version 0.3") as warned:
        train_of("linear")
    assert str(warned[0].message) == ("trainables._data goes in version 0.3: import TrainData from trainables.data")
    assert {Path(each.filename) for each in warned} == {file}, "the person's own line is named"
    assert len(warned) == 6


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


@pytest.mark.parametrize(
    ("package", "before", "after", "message"),
    [
        ("trainables", "def train(", "def fit(", "trainables/mine.py has no function train; a recipe has build(space"),
        ("trainables", "def build(", "def make(", "trainables/mine.py has no function build; a recipe has build(space"),
        (
            "trainables",
            "        yield Epoch(",
            "        Epoch(",
            "trainables/mine.py: train is not a generator function",
        ),
        ("search_spaces", "class Probe(Space)", "class Probe", "search_spaces/mine.py has 0 classes that are a Space"),
        ("search_spaces", "class Probe(", "class Probe((", "SyntaxError: invalid syntax, in "),
        ("search_spaces", "import Choice, ", "import Choise, ", "ImportError: cannot import name 'Choise'"),
        (
            "trainables",
            "import signal",
            "import nothing_here",
            "ModuleNotFoundError: No module named 'nothing_here', in ",
        ),
        ("trainables", "import signal", "raise ValueError('a\\nb')", "ValueError: a b, in "),
        ("trainables", "import signal", "raise SystemExit('done')", "SystemExit: done, in "),
        ("trainables", "import signal", "\0", "trainables/mine.py; mend it, or leave it out of --recipes"),
    ],
)
def test_a_broken_recipe_is_refused_in_one_line_that_names_the_file(
    tmp_path: Path, package: str, before: str, after: str, message: str
) -> None:
    file = written(tmp_path, "mine") / package / "mine.py"
    code = file.read_text()
    assert before in code
    file.write_text(code.replace(before, after))
    add_recipes(tmp_path)
    with pytest.raises(InputError) as error:
        (build_of if "def build(" in before else train_of)("mine")
    assert message in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_two_folders_with_a_recipe_of_one_name_are_refused(tmp_path: Path) -> None:
    add_recipes(written(tmp_path / "a", "mine"))
    with pytest.raises(InputError, match=f"has the name of one in {tmp_path}/a/search_spaces; rename it"):
        add_recipes(written(tmp_path / "b", "mine"))


def test_an_installed_package_brings_its_recipes(tmp_path: Path) -> None:
    """A separate process is needed, as the list of packages is read only once."""
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


def test_a_worker_is_told_of_the_folders(tmp_path: Path) -> None:
    written(tmp_path, "mine")
    settings = TrialContext(
        folders={},
        experiment="",
        device="cpu",
        threads=1,
        max_epochs=1,
        objective=Objective.of("loss"),
        recipes_from=(str(tmp_path),),
    )
    settings.prepare_process()
    assert train_of("mine").__module__ == "trainables.mine"


def test_a_winner_of_such_a_recipe_is_loaded_where_its_folder_is_named(tmp_path: Path) -> None:
    shape = DataShape(samples=100, channels=1, height=8, width=8, classes=3)
    facts = {"recipe": "mine", "config": {"skill": 0.5}, "shape": asdict(shape), "classes": ["a", "b", "c"]}
    (tmp_path / "metrics.json").write_text(json.dumps({**facts, "variant": "whole"}))
    with pytest.raises(InputError, match="is of recipe 'mine', which is not known here; give the folder that it came"):
        Classifier.load(tmp_path)
    folder = written(tmp_path / "my_recipes", "mine")
    add_recipes(folder)
    model = build_of("mine")(space_of("mine")(skill=0.5), shape)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert Classifier.load(tmp_path, recipes_from=folder).classes == ["a", "b", "c"]


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
