"""Experiments whose winners are really trained, without Ray: for what comes after a search."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tune.draws import draws_of

if TYPE_CHECKING:
    from trainables.training.metrics import Metric
    from tune.experiment.experiment import Experiment

RECIPES = ("knn", "mlp", "plain_cnn")


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Experiment:
    """A finished experiment on digits, in which kNN won."""
    from tune.experiment.model_folders import recipes_tested

    experiment = finished(RECIPES, tmp_path_factory.mktemp("results"), cache)
    assert recipes_tested(experiment)[0] == "knn"
    return experiment


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Metric]], None]:
    """Sets the metrics of the table `METRICS`."""
    from trainables.training import metrics

    return lambda measured: monkeypatch.setattr(metrics, "METRICS", tuple(measured))


@pytest.fixture
def searched_outside(readme_recipe: Path, tmp_path: Path, cache: Path, _forgets_recipes: None) -> Experiment:
    """A finished experiment with the recipe of the README, which other processes do not know."""
    return finished(("linear",), tmp_path / "results", cache, recipes_from=[str(readme_recipe)])


@pytest.fixture
def rows_alone(searched: Experiment, tmp_path: Path) -> Experiment:
    """An experiment with the rows of a preset and no winner: `near`, a kNN, `deep`, an MLP, and `failed`."""
    experiment = replace(searched, folder=tmp_path / "alone")
    shutil.copytree(searched.folder, experiment.folder)
    (experiment.folder / "rows").mkdir()
    (experiment.folder / "best" / "knn").rename(experiment.folder / "rows" / "near")
    (experiment.folder / "best" / "mlp").rename(experiment.folder / "rows" / "deep")
    shutil.rmtree(experiment.folder / "best")
    summary = experiment.read("report.json")
    tested = {"near": summary["recipes"]["knn"]["test"], "deep": summary["recipes"]["mlp"]["test"], "failed": None}
    row = {"recipe": "knn", "train_on": "train", "epochs": 1, "changes": [], "figures": []}
    rows = {name: {**row, "title": name, "test": test} for name, test in tested.items()}
    preset = {"title": "rows alone", "notes": [], "rows": rows}
    experiment.write("report.json", {**summary, "winner": None, "default": None, "recipes": {}, "preset": preset})
    return experiment


def finished(recipes: tuple[str, ...], out: Path, cache: Path, **given: object) -> Experiment:
    """An experiment on digits with a trial and a final of each recipe at its default."""
    from search_spaces import space_of
    from trainables.data import DataSpec, prepare
    from tune.experiment.environment import environment
    from tune.experiment.experiment import Experiment
    from tune.experiment.study import SearchStudy
    from tune.experiment.trial_context import TrialContext
    from tune.finals.finalists import load_finalists
    from tune.finals.training import FinalJob, train_final
    from tune.reporting.report import write_report
    from tune.settings.objective import Objective
    from tune.settings.settings import make

    settings = make({"recipes": recipes, "max_epochs": 2, "out": str(out), "name": "done", **given})
    experiment = Experiment.at(settings)
    experiment.write("settings.yaml", settings.dump())
    experiment.write("environment.json", environment("cpu", 1))
    prepare(DataSpec(source="digits", limit=300), cache=cache).write(experiment.folder)
    study = SearchStudy.create(experiment.storage, "done", maximize=True)
    trial = TrialContext(
        folders={"whole": str(experiment.folder)},
        experiment=str(experiment.folder),
        device="cpu",
        threads=1,
        max_epochs=2,
        objective=Objective.of("accuracy"),
    )
    for recipe in recipes:
        space = space_of(recipe).default(space_of(recipe).clamped(experiment.shape, space_of(recipe).domains()))
        record = study.begin(recipe, space.active(), seed=0, params={}, distributions={})
        study.report(record.number, 1, {"epoch": 1, "accuracy": 0.9, "seconds": 0.1}, 0.9)
        study.end(record.number, "complete")
        folder = f"finals/{recipe}-{record.number:05d}-0"
        job = FinalJob(recipe=recipe, config=space.active(), trial=record.number, seed=0, folder=folder)
        train_final(trial, job)
    numbers = [record.number for record in study.records]
    with draws_of(40):
        write_report(experiment, study.records, load_finalists(experiment.folder, numbers, settings), [], seconds=1.0)
    study.close()
    return experiment
