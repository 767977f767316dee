"""Rows: adapted to the data, trained by their own protocol, scored as scikit-learn scores them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from search_spaces import InputError, space_of
from tests.trainables.data.pictures import FASHION
from trainables.data import DataSpec, load_test, load_train, prepare
from tune.experiment.experiment import Experiment
from tune.experiment.input_variants import InputVariant, input_variants_of, input_variants_of_row
from tune.experiment.planned_rows import PlannedRow, plan
from tune.experiment.trial_context import TrialContext
from tune.finals.finalists import Final
from tune.finals.published_rows import cross_validate, starting_points, train_row
from tune.settings.objective import Objective
from tune.settings.preset import Preset, Row, file_of, read_preset, settings_with
from tune.settings.settings import Settings, make

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Experiment:
    folder = tmp_path_factory.mktemp("rows")
    prepare(DataSpec(source="digits", limit=400), cache=cache).write(folder)
    return Experiment(folder, settings=make({"name": "rows"}))


def trial_settings(experiment: Experiment, into: Path, epochs: int = 1) -> TrialContext:
    return TrialContext(
        folders={"whole": str(experiment.folder)},
        experiment=str(into),
        device="cpu",
        threads=1,
        max_epochs=epochs,
        objective=Objective.of("accuracy"),
    )


def preset_of(**rows: Row) -> Preset:
    return Preset(title="t", settings={}, rows=rows)


def row(recipe: str = "knn", **given: object) -> Row:
    return Row(**{"title": "r", "recipe": recipe, "published": {"test": {"accuracy": 0.5}}} | given)


def planned(experiment: Experiment, line: Row, **settings: object) -> PlannedRow:
    asked = make({"recipes": ["knn", "mlp"], "max_epochs": 200, "name": "x", **settings})
    preset = preset_of(r=line)
    (found,) = plan(preset, asked, {input_variants_of_row(preset, line, asked)[0]: experiment.read("data.json")})
    return found


def pixels(split: object) -> tuple[np.ndarray, np.ndarray]:
    images, labels = split.arrays()  # type: ignore[attr-defined]
    return images.reshape(len(images), -1).astype(np.float32) / 255, labels


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        ({}, []),
        ({"reduce": "pca", "components": 20}, ["pca"]),
        ({"reduce": "pca", "components": 20, "scale": "standard"}, ["scale", "pca"]),
    ],
)
def test_a_classic_row_scores_as_scikit_learns_pipeline(
    experiment: Experiment, tmp_path: Path, config: dict[str, object], steps: list[str]
) -> None:
    line = row(config={"weights": "uniform", "neighbors": 5, **config}, train_on="train+val")
    train_row(trial_settings(experiment, tmp_path), planned(experiment, line), 0)
    parts = {"scale": StandardScaler(), "pca": PCA(20, svd_solver="full")}
    pipeline = Pipeline([*((name, parts[name]) for name in steps), ("knn", KNeighborsClassifier(5))])
    train = load_train(experiment.folder, CPU, train_on="train+val").train
    assert len(train) == 400 + 270
    expected = pipeline.fit(*pixels(train)).score(*pixels(load_test(experiment.folder, CPU)))
    final = Final.load(tmp_path / "rows" / "r")
    assert final.test["accuracy"] == pytest.approx(expected, abs=1e-3)
    assert final.val == {}, "val was trained on"
    assert final.trial is None


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
@pytest.mark.parametrize("solver", ["full", "covariance_eigh"])
def test_pca_is_exact_also_of_many_pixels_where_scikit_learn_by_itself_approximates(
    tmp_path: Path, cache: Path, solver: str
) -> None:
    prepare(DataSpec(source=f"fashion_mnist:{FASHION}", split=(600, 100, 100), limit=600), cache=cache).write(tmp_path)
    large = Experiment(tmp_path, settings=make({"name": "large"}))
    config = {"weights": "uniform", "neighbors": 5, "reduce": "pca", "components": 100, "svd_solver": solver}
    train_row(trial_settings(large, tmp_path), planned(large, row(config=config)), 0)
    (images, labels), (others, _) = pixels(load_train(tmp_path, CPU).train), pixels(load_test(tmp_path, CPU))

    def predictions(pca: PCA) -> np.ndarray:
        found: np.ndarray = (
            Pipeline([("pca", pca), ("knn", KNeighborsClassifier(5))]).fit(images, labels).predict(others)
        )
        return found

    exact, near = predictions(PCA(100, svd_solver="full")), predictions(PCA(100, random_state=0))
    differ = (Final.load(tmp_path / "rows" / "r").predictions != exact).mean()
    assert differ < 1e-3
    assert (near != exact).mean() > 1e-3, "or this test shows nothing"


@pytest.mark.slow
def test_a_grid_is_scored_and_chosen_as_by_scikit_learns_grid_search(experiment: Experiment, tmp_path: Path) -> None:
    grid = {"components": [8, 16, 32], "neighbors": [1, 5, 15]}
    line = planned(
        experiment, row(config={"weights": "uniform", "reduce": "pca"}, grid=grid, folds=3, train_on="train+val")
    )
    settings = trial_settings(experiment, tmp_path)
    found = [cross_validate(settings, line, n, 0) for n in range(len(line.candidates))]
    scores = [score["accuracy"] for score in found]
    train = pixels(load_train(experiment.folder, CPU, train_on="train+val").train)
    pipeline = Pipeline([("pca", PCA(svd_solver="full")), ("knn", KNeighborsClassifier())])
    search = GridSearchCV(
        pipeline, {"pca__n_components": grid["components"], "knn__n_neighbors": grid["neighbors"]}, cv=3
    ).fit(*train)
    theirs = {
        (p["pca__n_components"], p["knn__n_neighbors"]): score
        for p, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True)
    }
    ours = {(c["components"], c["neighbors"]): score for c, score in zip(line.candidates, scores, strict=True)}
    assert ours == pytest.approx(theirs, abs=1e-3)
    train_row(settings, line, 0, *found)
    final = Final.load(tmp_path / "rows" / "r")
    assert (final.config["components"], final.config["neighbors"]) == max(theirs, key=lambda key: theirs[key])
    assert [entry.accuracy for entry in final.scores] == scores


def test_the_last_epoch_is_tested_and_not_the_best(experiment: Experiment, tmp_path: Path) -> None:
    line = planned(experiment, row("mlp", epochs=4, config={"width": 32, "lr": 0.01}))
    train_row(trial_settings(experiment, tmp_path, line.epochs), line, 3)
    final = Final.load(tmp_path / "rows" / "r")
    assert final.epoch == len(final.curves) == 4
    assert final.val["accuracy"] == final.curves[-1]["accuracy"]
    labels, predictions = final.on_val.labels, final.on_val.predictions
    assert (labels == predictions).mean() == pytest.approx(final.val["accuracy"])
    assert final.seed == 3


def test_a_row_is_as_published_unless_data_or_person_say_otherwise(experiment: Experiment) -> None:
    line = row("mlp", epochs=100, config={"lr": 0.001, "batch_size": 128}, image_size=64)
    assert planned(experiment, line, image_size=64).changes == []
    changed = planned(
        experiment, line, image_size=32, max_epochs=2, limit=50, set={"mlp.lr": "0.01", "mlp.width": "64"}
    )
    assert changed.changes == [
        "lr 0.01, not 0.001",
        "width 64, not 256",
        "2 of 100 epochs",
        "images of 32 pixels, not 64",
        "at most 50 images of train",
    ]
    assert changed.epochs == 2
    assert changed.input_variants == [InputVariant("whole", 32)]
    assert changed.candidates[0]["lr"] == 0.01
    few = replace(experiment.shape, samples=20)
    card = {**experiment.read("data.json"), "shape": vars(few)}
    (small,) = plan(preset_of(r=row(config={"neighbors": 50})), _settings(), {InputVariant("whole", None): card})
    assert small.changes == ["neighbors 20, not 50"]


def test_what_a_row_says_of_itself_comes_before_what_data_and_person_change(experiment: Experiment) -> None:
    line = row("mlp", epochs=100, changes=["biases are not decayed"])
    assert planned(experiment, line).changes == ["biases are not decayed"]
    found = planned(experiment, line, max_epochs=2)
    assert found.changes == ["biases are not decayed", "2 of 100 epochs"]


def test_a_network_that_was_trained_in_bfloat16_is_known_by_its_final(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = {}
    for gains in (True, False):
        monkeypatch.setattr("trainables.training.loop.gains_by_bfloat16", lambda device, gains=gains: gains)
        for recipe in ("mlp", "knn"):
            (folder := tmp_path / f"{recipe}-{gains}").mkdir()
            train_row(trial_settings(experiment, folder), planned(experiment, row(recipe)), 0)
            mixed[recipe, gains] = Final.load(folder / "rows" / "r").mixed
    assert mixed == {("mlp", True): True, ("knn", True): False, ("mlp", False): False, ("knn", False): False}


def test_what_a_preset_narrows_for_its_search_does_not_change_its_rows(experiment: Experiment) -> None:
    preset = Preset(
        title="t",
        settings={"data": "digits", "max_epochs": 5, "set": {"mlp": {"lr": "0.01..0.1"}}},
        rows={"r": row("mlp", config={"lr": 0.001}, epochs=50)},
    )
    card = {InputVariant("whole", None): experiment.read("data.json")}
    settings = make(settings_with(preset, {"recipes": ["mlp"], "name": "x"}))
    (found,) = plan(preset, settings, card)
    assert found.changes == []
    assert found.candidates[0]["lr"] == 0.001
    assert found.epochs == 50
    (cut,) = plan(preset, settings.model_copy(update={"max_epochs": 4}), card)
    assert cut.changes == ["4 of 50 epochs"]


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({"data": "cifar10:/elsewhere/cifar"}, []),
        ({"split": "rest,10,0"}, ["split rest,10,0, not 0.8,0.1,0.1"]),
        ({"seed": 1}, ["seed 1, not 42"]),
        ({"trials": 3, "final_seeds": 1}, []),
    ],
)
def test_other_data_than_a_preset_names_are_said(
    experiment: Experiment, given: dict[str, object], changes: list[str]
) -> None:
    named = {"data": "cifar10:data/cifar", "split": "0.8,0.1,0.1", "seed": 42, "recipes": ["mlp"]}
    preset = Preset(title="t", images=1797, settings=named, rows={"r": row("mlp")})
    settings = make(settings_with(preset, {"name": "x", **given}))
    card = {InputVariant("whole", None): experiment.read("data.json")}
    (found,) = plan(preset, settings, card)
    assert found.changes == changes
    (found,) = plan(preset.model_copy(update={"images": 60000}), settings, card)
    assert found.changes == ["1,797 images, not 60,000", *changes]


def test_a_row_may_be_trained_on_whole_images_and_evaluated_on_their_boxes(
    experiment: Experiment, tmp_path: Path, cache: Path
) -> None:
    """The boxes contain the same digits, upside down."""
    shutil.copytree(experiment.folder / "splits", tmp_path / "splits")
    card = experiment.read("data.json")
    store = Path(shutil.copytree(card["store"], tmp_path / "store"))
    np.save(store / "images.npy", np.load(store / "images.npy")[:, :, ::-1])
    (tmp_path / "data.json").write_text(json.dumps({**card, "store": str(store)}))
    line = planned(experiment, row("mlp", eval_variant="box"))
    assert line.input_variants == [InputVariant("whole", None), InputVariant("box", None)]
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    train_row(trial_settings(experiment, tmp_path / "one", 6), line, 0)
    folders = {"whole": str(experiment.folder), "box": str(tmp_path)}
    own = replace(trial_settings(experiment, tmp_path / "other", 6), folders=folders, eval_variant=line.eval_variant)
    train_row(own, line, 0)
    one, other = (Final.load(tmp_path / name / "rows" / "r") for name in ("one", "other"))
    assert other.curves[-1]["train_loss"] == one.curves[-1]["train_loss"]
    for figures, wrong in ((one.val, other.val), (one.test, other.test)):
        assert wrong["accuracy"] < figures["accuracy"] - 0.2
    assert other.on_val.loss == pytest.approx(other.val["loss"])
    assert other.losses.mean() == pytest.approx(other.test["loss"])


@pytest.mark.parametrize(
    ("given", "variant", "evaluated", "changes"),
    [
        ({}, "box", "whole", []),
        ({"variant": "box"}, "box", "box", ["val and test box, not whole"]),
        ({"variant": "whole"}, "whole", "whole", ["input_variant whole, not box"]),
        ({"set": {"mlp.input_variant": "whole"}}, "whole", "whole", ["input_variant whole, not box"]),
        ({"set": {"knn.input_variant": "whole"}}, "box", "whole", []),
    ],
)
def test_a_person_may_have_rows_see_something_else(
    experiment: Experiment, given: dict[str, object], variant: str, evaluated: str, changes: list[str]
) -> None:
    line = row("mlp", config={"input_variant": "box"}, eval_variant="whole")
    settings = {"data": "digits", "variant": "either", "recipes": ["knn", "mlp"], "set": {"mlp.input_variant": "box"}}
    preset = Preset(title="t", settings=settings, rows={"r": line})
    asked = make(settings_with(preset, {"name": "x", **given}))
    cards = {input_variant: experiment.read("data.json") for input_variant in input_variants_of(preset, asked)}
    (found,) = plan(preset, asked, cards)
    assert (found.candidates[0]["input_variant"], found.eval_variant) == (variant, evaluated)
    assert found.changes == changes
    assert {input_variant.kind for input_variant in found.input_variants} == {variant, evaluated}


def test_a_column_of_boxes_is_refused_where_no_box_is_looked_at() -> None:
    asked = make({"name": "x", "data": "parquet:x", "box_column": "b", "recipes": ["knn"]})
    with pytest.raises(InputError, match="--box-column b: no box is looked at; leave it out, or add --variant box"):
        input_variants_of(None, asked)
    assert input_variants_of(preset_of(r=row(eval_variant="box")), asked) == [
        InputVariant("whole", None),
        InputVariant("box", None),
    ]


def test_what_cross_validation_found_is_kept_for_a_resumed_search(experiment: Experiment, tmp_path: Path) -> None:
    line = planned(experiment, row())
    found, again = (cross_validate(trial_settings(experiment, tmp_path), line, 0, 0) for _ in range(2))
    assert again == found, "with its seconds, as it was not computed again"


def test_equal_points_of_a_grid_are_trained_once(experiment: Experiment) -> None:
    line = planned(experiment, row(config={"reduce": "pca"}, grid={"components": [64, 128, 256]}))  # 64 pixels
    assert [c["components"] for c in line.candidates] == [64]
    assert line.changes == ["components 64, not 128", "components 64, not 256"]


def test_rows_of_recipes_that_are_left_out_are_not_run() -> None:
    preset = read_preset(file_of("cifar10_classic"))
    settings = make(settings_with(preset, {"recipes": "mlp", "name": "x"}))
    card = {"shape": {"samples": 100, "channels": 3, "height": 32, "width": 32, "classes": 10}, "images": {"test": 1}}
    card["images_left_out"] = 0
    rows = plan(preset, settings, {InputVariant("whole", None): card})
    assert [line.name for line in rows] == ["mlp", "mlp-regularised"]


def test_training_on_val_needs_a_test_split(experiment: Experiment) -> None:
    card = {**experiment.read("data.json"), "images": {"train": 400, "val": 268, "test": 0}}
    with pytest.raises(InputError, match="row r is trained on train and val, but there is no test split"):
        plan(preset_of(r=row(train_on="train+val")), _settings(), {InputVariant("whole", None): card})


def test_the_search_starts_from_what_rows_found(experiment: Experiment) -> None:
    line = planned(experiment, row(config={"neighbors": 40, "weights": "uniform"}))
    train_row(trial_settings(experiment, experiment.folder), line, 0)
    domains = {
        "knn": space_of("knn").clamped(
            experiment.shape, make({"recipes": "knn", "set": {"knn.neighbors": "1..9"}}).domains("knn")
        )
    }
    (point,) = starting_points(experiment, [line], domains)["knn"]
    assert (point.neighbors, point.weights) == (9, "uniform")  # type: ignore[attr-defined]


def _settings() -> Settings:
    return make({"recipes": ["knn", "mlp"], "max_epochs": 200, "name": "x"})
