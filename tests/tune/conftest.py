"""An experiment whose winners are really trained, without Ray: for what comes after a search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tune.experiment import Experiment

RECIPES = ("knn", "mlp", "plain_cnn")


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Experiment:
    """A finished experiment on digits, in which kNN won."""
    from search_spaces import space_of
    from trainables._data import DataSpec, prepare
    from tune.experiment import Experiment, environment
    from tune.finals import load_finalists, train_final
    from tune.reporting import write_report
    from tune.settings import make
    from tune.study import SearchStudy
    from tune.worker import TrialSettings

    settings = make(
        {"recipes": RECIPES, "max_epochs": 2, "out": str(tmp_path_factory.mktemp("results")), "name": "done"}
    )
    experiment = Experiment.at(settings)
    experiment.write("settings.yaml", settings.dump())
    experiment.write("environment.json", environment("cpu", 1))
    prepare(DataSpec(source="digits", limit=300), cache=cache).write(experiment.folder)
    study = SearchStudy.create(experiment.storage, "done", maximize=True)
    trial = TrialSettings(
        folder=str(experiment.folder), device="cpu", threads=1, max_epochs=2, metric="accuracy", maximize=True
    )
    for recipe in RECIPES:
        space = space_of(recipe).default(space_of(recipe).clamped(experiment.shape, space_of(recipe).domains()))
        record = study.begin(recipe, space.active(), seed=0, params={}, distributions={})
        study.report(record.number, 1, {"epoch": 1, "accuracy": 0.9, "seconds": 0.1}, 0.9)
        study.end(record.number, "complete")
        place = experiment.folder / "finals" / f"{recipe}-{record.number:05d}-0"
        train_final(trial, recipe, space.active(), record.number, 0, place)
    numbers = [record.number for record in study.records]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tune.intervals.DRAWS", 40)
        write_report(experiment, study.records, load_finalists(experiment.folder, numbers, [0]), [], seconds=1.0)
    study.close()
    assert experiment.tested[0] == "knn"
    return experiment
