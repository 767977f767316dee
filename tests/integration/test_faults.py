"""Trials that fail: by their own error, by divergence, with their machine."""

from pathlib import Path

import pytest
from tune.cli import main
from tune.experiment import Experiment
from tune.study import Record, SearchStudy

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def search(out: Path, cache: Path, name: str, *arguments: str) -> list[Record]:
    common = ["--data", "digits", "--limit", "100", "--max-epochs", "4", "--grace-period", "4", "--final-seeds", "1"]
    places = ["--out", str(out), "--cache", str(cache), "--name", name]
    assert main(["search", *common, *places, "--recipes", "probe", *arguments]) == 0
    experiment = Experiment.open(out / name)
    return SearchStudy.load(experiment.storage, name).records


def test_a_trial_with_an_error_fails_with_its_traceback_and_the_search_goes_on(tmp_path: Path, cache: Path) -> None:
    found = search(tmp_path, cache, "raise", "--trials", "6", "--set", "probe.behaviour=raise|train")
    failed = [r for r in found if r.config["behaviour"] == "raise"]
    assert failed
    for record in failed:
        assert record.state == "failed"
        assert record.note == "ArithmeticError: as it was told"
        assert len(record.epochs) == 1
        traceback = (tmp_path / "raise" / "trials" / f"{record.number:05d}" / "error-01.txt").read_text()
        assert "Traceback" in traceback
        assert "probe.py" in traceback
        assert record.attempts == 1
    assert all(r.state == "complete" for r in found if r.config["behaviour"] == "train")


def test_divergence_ends_a_trial_and_is_said_with_its_epoch(tmp_path: Path, cache: Path) -> None:
    found = search(tmp_path, cache, "diverge", "--trials", "6", "--set", "probe.behaviour=diverge|train")
    diverged = [r for r in found if r.config["behaviour"] == "diverge"]
    assert diverged
    for record in diverged:
        assert record.state == "failed"
        assert record.diverged
        assert record.note == "diverged in epoch 2: train loss 1.0, val loss nan"
        assert len(record.epochs) == 1
    assert {r.state for r in found if r.config["behaviour"] == "train"} == {"complete"}


def test_a_trial_whose_worker_died_goes_on_from_its_last_checkpoint(tmp_path: Path, cache: Path) -> None:
    (record,) = search(tmp_path, cache, "die", "--trials", "1", "--set", "probe.behaviour=die")
    assert record.state == "complete"
    assert record.attempts == 2
    assert [epoch["epoch"] for epoch in record.epochs] == [1, 2, 3, 4]


def test_a_trial_whose_worker_always_dies_is_given_up(tmp_path: Path, cache: Path) -> None:
    fatal, good = search(tmp_path, cache, "always", "--trials", "2", "--set", "probe.behaviour=die-always|train")
    if fatal.config["behaviour"] == "train":
        fatal, good = good, fatal
    assert (fatal.state, fatal.attempts, fatal.note) == ("failed", 3, "its worker died 3 times")
    assert good.state == "complete"


def test_an_exhausted_recipe_leaves_its_share_to_the_others(tmp_path: Path, cache: Path) -> None:
    settings = [
        "--trials", "10", "--recipes", "probe,knn", "--set", "probe.behaviour=train", "--set", "probe.skill=0.5",
        "--set", "probe.number=1..3",
    ]  # fmt: skip
    found = search(tmp_path, cache, "few", *settings)
    assert sum(r.recipe == "probe" for r in found) == 3
    assert sum(r.recipe == "knn" for r in found) == 7


def test_no_configuration_is_trained_twice_and_a_small_search_ends_early(tmp_path: Path, cache: Path) -> None:
    settings = ["--trials", "50", "--set", "probe.behaviour=train", "--set", "probe.skill=0.5"]
    found = search(tmp_path, cache, "all", *settings, "--set", "probe.number=1..5")
    assert sorted(r.config["number"] for r in found) == [1, 2, 3, 4, 5]


def test_a_search_in_which_every_trial_fails_still_ends_with_a_report(tmp_path: Path, cache: Path) -> None:
    found = search(tmp_path, cache, "none", "--trials", "2", "--set", "probe.behaviour=raise")
    assert {r.state for r in found} == {"failed"}
    assert (tmp_path / "none" / "report" / "index.html").exists()
