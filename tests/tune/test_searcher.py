"""The searcher over a real study, without Ray's loop."""

from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from search_spaces import DataShape, space_of
from tune.searcher import StudySearcher
from tune.study import SearchStudy
from tune.worker import TrialSettings

SHAPE = DataShape(samples=1000, channels=1, height=8, width=8, classes=10)


@pytest.fixture
def study(tmp_path: Path) -> SearchStudy:
    return SearchStudy.create(f"sqlite:///{tmp_path / 'study.db'}", "s", maximize=True)


def searcher(study: SearchStudy, tmp_path: Path, trials: int = 6) -> StudySearcher:
    settings = TrialSettings(
        folder=str(tmp_path), device="cpu", threads=1, max_epochs=3, metric="accuracy", maximize=True
    )  # fmt: skip
    domains = {recipe: space_of(recipe).clamped(SHAPE) for recipe in ("knn", "mlp")}
    return StudySearcher(study, domains, trials=trials, seed=0, adaptive=False, settings=settings, starts={})


def result(config: dict[str, Any], epoch: int = 1, end: str = "complete") -> dict[str, Any]:
    figures = {"figures/accuracy": 0.5, "figures/loss": 1.0, "figures/seconds": 1.0}
    return {"number": config["number"], "epoch": epoch, "best": 0.5, "end": end, **figures}


def test_trials_are_shared_out_and_then_it_is_finished(study: SearchStudy, tmp_path: Path) -> None:
    s = searcher(study, tmp_path)
    for n in range(6):
        config = s.suggest(f"ray{n}")
        s.on_trial_complete(f"ray{n}", result(config))
    assert s.suggest("ray6") == Searcher.FINISHED
    assert [record.recipe for record in study.records] == ["knn", "mlp"] * 3
    assert {record.state for record in study.records} == {"complete"}


def test_while_trials_run_it_waits_for_one_may_come_back(study: SearchStudy, tmp_path: Path) -> None:
    s = searcher(study, tmp_path, trials=1)
    config = s.suggest("ray0")
    assert s.suggest("ray1") is None
    s.on_trial_complete("ray0", error=True)  # its worker died
    again = s.suggest("ray2")
    assert (again["number"], again["attempt"]) == (config["number"], 2)


def test_unfinished_trials_are_handed_out_first_by_the_next_process(study: SearchStudy, tmp_path: Path) -> None:
    s = searcher(study, tmp_path)
    first, second = s.suggest("a"), s.suggest("b")
    s.on_trial_result("a", result(first, end=""))
    resumed = searcher(study, tmp_path)
    again = [resumed.suggest("c"), resumed.suggest("d")]
    assert [config["number"] for config in again] == [first["number"], second["number"]]
    assert [config["reported"] for config in again] == [1, 0]
    assert [config["config"] for config in again] == [first["config"], second["config"]]


def test_a_trial_ended_before_its_first_epoch_does_not_count_and_is_tried_again(
    study: SearchStudy, tmp_path: Path
) -> None:
    config = searcher(study, tmp_path).suggest("a")
    study.end(config["number"], "pruned", "the time budget was used up")
    s = searcher(study, tmp_path)
    configs = []
    while (drawn := s.suggest(f"ray{len(configs)}")) != Searcher.FINISHED:
        s.on_trial_complete(f"ray{len(configs)}", result(drawn))
        configs.append(drawn["config"])
    assert len(configs) == 6
    assert config["config"] in configs


def test_resumes_do_not_count_as_failures_of_the_machine(study: SearchStudy, tmp_path: Path) -> None:
    for n in range(4):
        s = searcher(study, tmp_path, trials=1)
        s.suggest(f"ray{n}")
    s.on_trial_complete("ray3", error=True)
    assert study.records[0].state == "running"
    for n in (4, 5):
        s.suggest(f"ray{n}")
        s.on_trial_complete(f"ray{n}", error=True)
    assert (study.records[0].state, study.records[0].note) == ("failed", "its worker died 3 times")
