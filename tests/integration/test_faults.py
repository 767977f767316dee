"""Trials that fail by their own error, by divergence or with their machine, all in one search.

Their recipe comes from outside, so the trials that continue show that workers know it too.
"""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import ray

from trainables.storage.synced_folder import SyncedFolder
from tune.cli import main
from tune.experiment.experiment import Experiment
from tune.experiment.study import SearchStudy
from tune.experiment.trial_record import TrialRecord
from tune.finals.training import wait_for
from tune.tuning.retries import trainer

pytestmark = pytest.mark.usefixtures("ray_session")

RECIPES = Path(__file__).parent.parent / "recipes"
BEHAVIOURS = ("train", "raise", "diverge", "die", "die-always")


@pytest.fixture(scope="module")
def experiment(ray_session: None, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A search over a space of five configurations, each of which behaves in its own way, and over kNN."""
    out = tmp_path_factory.mktemp("results")
    arguments = [
        "--data", "digits", "--limit", "100", "--max-epochs", "4", "--grace-period", "4", "--final-seeds", "1",
        "--out", str(out), "--cache", str(cache), "--name", "faults", "--trials", "12",
        "--recipes", f"{RECIPES},knn",
        "--set", "probe.skill=0.5", "--set", "probe.number=1", "--set", "knn.neighbors=1..20",
    ]  # fmt: skip
    assert main(["search", *arguments]) == 0
    return out / "faults"


@pytest.fixture(scope="module")
def records(experiment: Path) -> list[TrialRecord]:
    opened = Experiment.open(experiment)
    return SearchStudy.load(opened.storage, opened.settings.name).records


@pytest.fixture(scope="module")
def probes(records: list[TrialRecord]) -> dict[str, TrialRecord]:
    return {str(r.config["behaviour"]): r for r in records if r.recipe == "probe"}


def test_no_configuration_is_trained_twice_and_an_exhausted_recipe_leaves_its_share(records: list[TrialRecord]) -> None:
    assert sorted(str(r.config["behaviour"]) for r in records if r.recipe == "probe") == sorted(BEHAVIOURS)
    assert sum(r.recipe == "knn" for r in records) == 7
    assert all(r.state != "running" for r in records)


def test_a_trial_with_an_error_fails_with_its_traceback(experiment: Path, probes: dict[str, TrialRecord]) -> None:
    record = probes["raise"]
    assert (record.state, record.note, record.attempts) == ("failed", "ArithmeticError: as it was told", 3)
    assert [epoch["epoch"] for epoch in record.epochs] == [1]
    files = sorted((experiment / "trials" / f"{record.number:05d}").glob("error-*.txt"))
    assert [file.name for file in files] == [f"error-01.0{attempt}.txt" for attempt in (1, 2, 3)]
    for file in files:
        assert "Traceback" in file.read_text()
        assert "probe.py" in file.read_text()
    processes = {re.findall("in process ([0-9]+)", file.read_text())[0] for file in files}
    assert len(processes) == 3, "an error may leave anything behind"


def test_divergence_ends_a_trial_and_is_said_with_its_epoch(probes: dict[str, TrialRecord]) -> None:
    record = probes["diverge"]
    assert record.state == "failed"
    assert record.diverged
    assert record.note == "diverged in epoch 2: train loss 1.0, val loss nan"
    assert [epoch["epoch"] for epoch in record.epochs] == [1]


def test_a_trial_whose_worker_died_goes_on_from_its_last_checkpoint(probes: dict[str, TrialRecord]) -> None:
    record = probes["die"]
    assert (record.state, record.attempts) == ("complete", 2)
    assert [epoch["epoch"] for epoch in record.epochs] == [1, 2, 3, 4]


def test_a_trial_whose_worker_always_dies_is_given_up(probes: dict[str, TrialRecord]) -> None:
    record = probes["die-always"]
    assert (record.state, record.attempts, record.note) == ("failed", 3, "its worker died 3 times")


def test_the_others_are_not_disturbed(records: list[TrialRecord], probes: dict[str, TrialRecord]) -> None:
    assert probes["train"].state == "complete"
    assert {r.state for r in records if r.recipe == "knn"} == {"complete"}


def test_checkpoints_of_failed_trials_are_gone(experiment: Path, probes: dict[str, TrialRecord]) -> None:
    for record in probes.values():
        if record.state == "failed":
            assert not (experiment / "trials" / f"{record.number:05d}" / "checkpoints").exists()


def test_a_search_whose_first_trials_fail_alike_is_stopped_with_their_error(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune.tuning.searcher.MAX_FAILURES", 1)  # each takes a process
    for module in ("tuning.searcher", "search"):
        monkeypatch.setattr(f"tune.{module}.HOPELESS_AFTER", 3)
    arguments = [
        "--data", "digits", "--limit", "100", "--max-epochs", "2", "--grace-period", "2", "--trials", "50",
        "--out", str(tmp_path), "--cache", str(cache), "--name", "hopeless",
        "--recipes", str(RECIPES), "--set", "probe.behaviour=raise",
    ]  # fmt: skip
    assert main(["search", *arguments]) == 2
    output, error = capsys.readouterr()
    assert output.splitlines()[-1] == f"report: {tmp_path}/hopeless/report/index.html"
    assert "the first 3 trials failed alike: ArithmeticError: as it was told; see " in error
    assert error.count("\n") == 1
    opened = Experiment.open(tmp_path / "hopeless")
    found = SearchStudy.load(opened.storage, "hopeless").records
    assert sum(record.state == "failed" for record in found) in (3, 4)


def die(place: str) -> None:
    """Record that the trial has begun, and end its process."""
    with (Path(place) / "begun").open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_final_whose_workers_die_is_given_up_after_three_lost_nodes_aside(tmp_path: Path) -> None:
    context = ray.get_runtime_context()
    here, lost, earlier = (
        {"job": job, "node": node}
        for job, node in (
            (context.get_job_id(), context.get_node_id()),
            (context.get_job_id(), "of a machine that is gone"),
            ("of a driver that was killed", context.get_node_id()),
        )
    )
    (tmp_path / "finals").mkdir()
    (tmp_path / "finals" / ".knn.attempts").write_text(json.dumps([lost] * 3 + [earlier] * 3 + [here]))
    job = trainer(cpus=1, gpus=0).remote(SyncedFolder(tmp_path), "finals/knn", die, str(tmp_path))
    told: list[tuple[int, int]] = []
    failures = wait_for({job: "final knn"}, lambda done, total: told.append((done, total)), before=2)
    assert failures == ["final knn: RuntimeError: its worker died 3 times"]
    assert told == [(2, 3), (3, 3)]
    assert (tmp_path / "begun").read_text() == "xx"
    assert not list((tmp_path / "finals").iterdir())


def test_the_report_is_written_all_the_same(experiment: Path) -> None:
    assert "as it was told" in (experiment / "report" / "index.html").read_text()
    summary = Experiment.open(experiment).read("report.json")
    assert summary["failures"] == []
    assert summary["recipes"]["probe"]["test"]
