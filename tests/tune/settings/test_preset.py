"""The shipped presets, and mistakes in a person's own."""

import re
import tomllib
from importlib import resources
from pathlib import Path, PurePath

import pytest
import yaml

from search_spaces import InputError, space_of
from tune.settings.preset import Row, file_of, names, read_preset, settings_with
from tune.settings.settings import Settings, make

OWN = {
    "title": "mine",
    "settings": {"data": "digits", "recipes": ["knn"], "set": {"knn": {"neighbors": "1..9"}}},
    "rows": {
        "three": {"title": "k 3", "recipe": "knn", "config": {"neighbors": 3}, "published": {"test": {"accuracy": 0.5}}}
    },
}


def own(folder: Path, **changes: object) -> Path:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(OWN | changes))
    return file


def row(**changes: object) -> dict[str, object]:
    return {"three": OWN["rows"]["three"] | changes}  # type: ignore[index]


def test_presets_are_files_of_the_package_that_is_installed() -> None:
    root = Path(__file__).parents[3]
    shipped = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["tune"]
    files = {file.name: file for file in (resources.files("tune") / "settings" / "presets").iterdir()}
    assert sorted(files) == [f"{name}.yaml" for name in names()]
    for name, file in files.items():
        assert any(PurePath("settings", "presets", name).match(pattern) for pattern in shipped)
        assert read_preset(file_of(name.removesuffix(".yaml"))).title == yaml.safe_load(file.read_text())["title"]


@pytest.mark.parametrize("name", names())
def test_a_shipped_preset_holds_together(name: str) -> None:
    preset = read_preset(file_of(name))
    settings = make(settings_with(preset, {"data": "digits", "preset": name}))
    assert {row.recipe for row in preset.rows.values()} == set(settings.recipes)
    assert max(row.epochs for row in preset.rows.values()) <= settings.max_epochs, "a row would be cut short"
    text = file_of(name).read_text()
    head = text[: text.index("title:")]
    assert f"toprung search --preset {name}" in head
    for line in preset.rows.values():
        for figures in line.published.values():
            for value in figures.values():
                assert f"{value:g}".lstrip("0") in head or f"{value:.3f}" in head or f"{value:.2f}" in head, value


@pytest.mark.parametrize("name", names())
def test_the_search_of_a_shipped_preset_begins_near_its_rows(name: str) -> None:
    """A row's configuration lies in the searched space, except for fields that a search does not choose."""
    preset = read_preset(file_of(name))
    settings = make(settings_with(preset, {"data": "digits", "preset": name}))
    for line in preset.rows.values():
        domains = settings.domains(line.recipe)
        for candidate in line.candidates():
            point = space_of(line.recipe).parse(candidate)
            moved = {n for n, value in point.active().items() if value not in domains[n]}
            assert moved <= {"weight_decay"}  # 0, where the logarithm is searched


def test_the_help_names_the_presets() -> None:
    assert all(name in str(Settings.model_fields["preset"].description) for name in names())


def test_the_published_rows_are_all_there() -> None:
    assert {name: len(read_preset(file_of(name)).rows) for name in names()} == {
        "cifar10_classic": 6,
        "dog_breeds": 6,
        "flowers_cnn": 3,
        "product_masks": 10,
        "yolo_dropout": 2,
    }


def test_rows_with_decay_decay_what_was_decayed() -> None:
    """All parameters by PyTorch's optimisers; ultralytics leaves norms and biases out."""
    configs = {
        (name, row): space_of(line.recipe).parse(line.config).active()
        for name in names()
        for row, line in read_preset(file_of(name)).rows.items()
    }
    assert {key: config["decayed"] for key, config in configs.items() if config.get("weight_decay")} == {
        ("flowers_cnn", "residual-cnn"): "all",
        ("yolo_dropout", "base"): "weights",
        ("yolo_dropout", "dropout"): "weights",
    }


def test_a_grid_is_in_the_order_of_scikit_learn() -> None:
    from sklearn.model_selection import ParameterGrid

    grid = {"neighbors": [5, 10], "components": [64, 128]}
    line = Row(title="", recipe="knn", config={"reduce": "pca"}, grid=grid, published={})
    assert [{n: c[n] for n in grid} for c in line.candidates()] == list(ParameterGrid(grid))
    assert {c["reduce"] for c in line.candidates()} == {"pca"}


def test_a_persons_settings_go_before_those_of_the_preset(tmp_path: Path) -> None:
    preset = read_preset(file_of("cifar10_classic"))
    given = {"preset": "cifar10_classic", "recipes": "knn", "trials": "7", "set": {"knn.neighbors": "3"}}
    settings = make(settings_with(preset, given))
    assert settings.recipes == ("knn",)
    assert settings.trials == 7
    assert settings.set == {"knn.svd_solver": "covariance_eigh", "knn.components": "32..256", "knn.neighbors": "3"}
    assert settings.max_epochs == 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}}, "rows: Dictionary should have at least 1 item"),
        ({"rows": {"a/b": OWN["rows"]["three"]}}, "row 'a/b' cannot name a folder"),  # type: ignore[index]
        ({"rows": row(recipe="resnet")}, "rows.three: no recipe 'resnet'; there are:"),
        ({"rows": row(config={"neighbours": 3})}, "rows.three: knn has no field 'neighbours'"),
        ({"rows": row(config={"neighbors": 300})}, "rows.three: knn.neighbors=300 is outside its domain"),
        ({"rows": row(grid={"neighbors": [300]})}, "rows.three: knn.neighbors=300 is outside its domain"),
        ({"rows": row(epochs=0)}, "rows.three.epochs: Input should be greater than or equal to 1"),
        ({"rows": row(colour=1)}, "rows.three.colour: Extra inputs are not permitted"),
        ({"rows": row(train_on="train+val", published={"val": {"accuracy": 0.5}})}, "cannot be trained on train\\+val"),
        ({"rows": row(published={"val": {"accuracy": 92}})}, "published accuracy 92: is not a fraction; write 0.92"),
        (
            {"rows": row(grid={"neighbors": [3, 5]}, published_best={"neighbors": 4})},
            "published_best neighbors=4: is not in",
        ),
        ({"rows": row(published={"val": {"loss": -1}})}, "published loss -1: is not"),
        (
            {"rows": row(published={"val": {"acuracy": 0.5}})},
            r"published acuracy: is not measured \(did you mean accuracy\?\); these are:",
        ),
    ],
)
def test_a_broken_preset_is_refused_in_one_line(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_preset(own(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_the_table_in_the_docs_is_a_preset(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "presets.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    file = tmp_path / "mine.yaml"
    file.write_text(block)
    preset = read_preset(file)
    assert make(settings_with(preset, {"preset": str(file)})).set == {"mlp.width": "64..512"}
    assert len(preset.rows["knn"].candidates()) == 3


def test_without_data_in_preset_or_flags_a_person_is_asked_for_them() -> None:
    preset = read_preset(file_of("yolo_dropout"))
    with pytest.raises(InputError, match="--preset yolo_dropout: names no data set; say yours by --data"):
        settings_with(preset, {"preset": "yolo_dropout"})


def test_a_key_that_stands_twice_is_refused_but_not_one_over_an_anchor(tmp_path: Path) -> None:
    file = own(tmp_path)
    text = file.read_text()
    file.write_text(text.replace("title: mine", "title: mine\ntitle: yours"))
    with pytest.raises(InputError, match="is not YAML: 'title' stands twice, line"):
        read_preset(file)
    file.write_text(
        ".base: &base {neighbors: 5, scale: none}\n" + text.replace("neighbors: 3", "<<: *base\n      neighbors: 3")
    )
    assert read_preset(file).rows["three"].config == {"neighbors": 3, "scale": "none"}


def test_a_persons_own_preset_is_named_by_its_file(tmp_path: Path) -> None:
    file = own(tmp_path)
    preset = read_preset(file_of(str(file)))
    settings = make(settings_with(preset, {"preset": str(file), "rows_only": True}))
    assert settings.set == {"knn.neighbors": "1..9"}
    assert preset.rows["three"].candidates() == [{"neighbors": 3}]
