"""The searcher over a real study, without Ray's loop."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError
from ray.tune.search import Searcher
from rich.console import Console

from search_spaces import DataShape, space_of
from trainables.storage.synced_folder import SyncedFolder
from tune.cluster.resources import Resources
from tune.experiment.experiment import Experiment
from tune.experiment.study import SearchStudy
from tune.experiment.trial_files import TrialFiles
from tune.settings.settings import make
from tune.tuning.deadline import Deadline
from tune.tuning.node_probe import NodeProbe
from tune.tuning.search_context import SearchContext
from tune.tuning.searcher import StudySearcher

SHAPE = DataShape(samples=1000, channels=1, height=8, width=8, classes=10)

ERRORS: dict[str, Exception] = {}
"""Errors that Ray reports for failed trials; a trial without an entry has an unknown error."""


class Nodes(NodeProbe):
    """A cluster without Ray, of the driver's node and as many others as there shall be."""

    def __init__(self, lost: Collection[str] = (), slots: Callable[[], int] = lambda: 4) -> None:
        super().__init__(make({}), concurrent=0)
        self.lost, self.slots = lost, slots

    def is_alive(self, node: str) -> bool:
        return node not in self.lost

    def this_node(self) -> str:
        return "head"

    def died_with_its_node(self, error: Exception | None) -> bool:
        return isinstance(error, RayActorError) and error.actor_id == "lost with its node"


@pytest.fixture
def study(tmp_path: Path) -> SearchStudy:
    return SearchStudy.create(f"sqlite:///{tmp_path / 'study.db'}", "s", maximize=True)


def searcher(study: SearchStudy, tmp_path: Path, trials: int = 6, nodes: Nodes | None = None) -> StudySearcher:
    settings = make({"recipes": "knn,mlp", "trials": trials, "max_epochs": 3, "out": str(tmp_path), "name": "e"})
    search = SearchContext(
        experiment=Experiment(settings=settings, folder=tmp_path),
        study=study,
        resources=Resources(cpus=1, gpus=0, concurrent=4),
        deadline=Deadline(study, None),
        console=Console(quiet=True),
    )
    domains = {recipe: space_of(recipe).clamped(SHAPE) for recipe in ("knn", "mlp")}
    ERRORS.clear()
    return StudySearcher(search, domains, {}, ERRORS, nodes or Nodes())


def result(config: dict[str, Any], epoch: int = 1, end: str = "complete") -> dict[str, Any]:
    figures = {"figures/accuracy": 0.5, "figures/loss": 1.0, "figures/seconds": 1.0}
    return {"number": config["number"], "node": "n", "worker": "w", "epoch": epoch, "best": 0.5, "end": end, **figures}


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
    assert (again["number"], again["attempt"]) == (config["number"], "01.02")


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


def test_as_many_trials_run_as_there_are_slots_by_now(study: SearchStudy, tmp_path: Path) -> None:
    slots = 1
    s = searcher(study, tmp_path, nodes=Nodes(slots=lambda: slots))
    first = s.suggest("a")
    assert s.suggest("b") is None
    slots = 3  # a node has joined
    assert s.suggest("b")["number"] == 1
    assert s.suggest("c")["number"] == 2
    assert s.suggest("d") is None
    slots = 2  # and is gone
    s.on_trial_complete("a", result(first))
    assert s.suggest("d") is None


def test_a_lost_node_is_no_failure_of_its_trials(study: SearchStudy, tmp_path: Path) -> None:
    s = searcher(study, tmp_path, trials=1, nodes=Nodes(lost=["n"]))
    for n in range(5):
        config = s.suggest(f"ray{n}")
        s.on_trial_result(f"ray{n}", result(config, epoch=n + 1, end=""))
        s.on_trial_complete(f"ray{n}", error=True)
    assert (study.records[0].state, study.records[0].attempts) == ("running", 5)


@pytest.mark.parametrize("told", [True, False])
def test_whether_a_node_is_lost_may_be_known_later_than_that_its_workers_are(
    study: SearchStudy, tmp_path: Path, told: bool
) -> None:
    """Spot machines, lost one after the other before (`told`) or after the trial has reported an epoch."""
    lost: set[str] = set()
    s = searcher(study, tmp_path, trials=1, nodes=Nodes(lost))
    for n in range(3):
        config = s.suggest(f"ray{n}")
        if told:
            s.on_trial_result(f"ray{n}", {**result(config, epoch=n + 1, end=""), "node": f"spot-{n}"})
        else:
            TrialFiles(SyncedFolder(tmp_path), 0).write_node(config["attempt"], f"spot-{n}")
        s.on_trial_complete(f"ray{n}", error=True)
    assert s.suggest("ray3") is None, "it waits until it is known"
    assert study.records[0].state == "running"
    lost.add("spot-1")
    assert s.suggest("ray4")["number"] == 0


def test_a_trial_whose_workers_die_on_nodes_that_stay_has_failed(study: SearchStudy, tmp_path: Path) -> None:
    s = searcher(study, tmp_path, trials=1, nodes=(nodes := Nodes()))
    for n in range(3):
        s.on_trial_result(f"ray{n}", result(s.suggest(f"ray{n}"), epoch=n + 1, end=""))
        s.on_trial_complete(f"ray{n}", error=True)
    assert s.suggest("ray3") is None
    nodes.node_loss_timeout_s = 0.0
    assert s.suggest("ray3") == "FINISHED"
    assert (study.records[0].state, study.records[0].note) == ("failed", "its worker died 3 times")


def test_a_trial_fails_for_good_by_its_third_error(study: SearchStudy, tmp_path: Path) -> None:
    s = searcher(study, tmp_path, trials=1)
    for n in range(3):
        assert study.records == [] or study.records[0].state == "running"
        fail(s, f"ray{n}", ValueError(f"no memory at 0x{n}\n"))
    assert (study.records[0].state, study.records[0].note) == ("failed", "ValueError: no memory at 0x2")


@pytest.mark.parametrize(("messages", "hopeless"), [("aaaaa", True), ("aaaa", False), ("aaaab", False)])
def test_trials_that_fail_first_and_alike_are_told(
    study: SearchStudy, tmp_path: Path, messages: str, hopeless: bool
) -> None:
    s = searcher(study, tmp_path)
    for number, message in enumerate(messages):
        for attempt in range(3):
            fail(s, f"ray{number}-{attempt}", ValueError(f"{message} {number} at {hex(10**6 * number + 10)}"))
    assert s.hopeless == ("ValueError: a 0 at 0xa" if hopeless else None)


@pytest.mark.parametrize(("before", "hopeless"), [("complete", False), ("failed", True)])
def test_of_a_resumed_search_trials_that_succeeded_count_and_errors_do_not_as_they_may_be_mended(
    study: SearchStudy, tmp_path: Path, before: str, hopeless: bool
) -> None:
    s = searcher(study, tmp_path, trials=20)
    for n in range(4):
        if before == "complete":
            s.on_trial_complete(f"first{n}", result(s.suggest(f"first{n}")))
        else:
            for attempt in range(3):
                fail(s, f"first{n}-{attempt}", ValueError("mended"))
    again = searcher(study, tmp_path, trials=20)
    for n in range(5):
        assert again.hopeless is None
        for attempt in range(3):
            fail(again, f"ray{n}-{attempt}", ValueError("a"))
    assert (again.hopeless == "ValueError: a") == hopeless


def test_a_search_of_which_one_trial_succeeds_is_not_hopeless(study: SearchStudy, tmp_path: Path) -> None:
    s = searcher(study, tmp_path)
    s.on_trial_complete("first", result(s.suggest("first")))
    for n in range(15):
        fail(s, f"ray{n}", ValueError("a"))
    assert s.hopeless is None


@pytest.mark.parametrize(
    "error",
    [
        ActorUnavailableError("the actor is unavailable: RPC error: Socket closed", b"1" * 16),
        RayActorError(actor_id="lost with its node"),
    ],
)
def test_what_ray_calls_a_lost_node_or_connection_is_no_failure(
    study: SearchStudy, tmp_path: Path, error: Exception
) -> None:
    """The trial had not yet reported its node."""
    s = searcher(study, tmp_path, trials=1)
    for n in range(5):
        s.suggest(f"ray{n}")
        ERRORS[f"ray{n}"] = error
        s.on_trial_complete(f"ray{n}", error=True)
    assert (study.records[0].state, study.records[0].attempts) == ("running", 5)


def test_checkpoints_that_a_failing_storage_keeps_are_deleted_later(study: SearchStudy, tmp_path: Path) -> None:
    (tmp_path / "nfs").mkdir()
    s = searcher(study, tmp_path / "nfs", trials=3)
    for n in range(2):
        (tmp_path / "nfs" / "trials" / f"{n:05d}" / "checkpoints").mkdir(parents=True)
        config = s.suggest(f"ray{n}")
        (tmp_path / "nfs").rename(tmp_path / "gone")
        s.on_trial_complete(f"ray{n}", result(config, end=""))
        (tmp_path / "gone").rename(tmp_path / "nfs")
    assert [record.state for record in study.records] == ["pruned"] * 2
    assert len(list((tmp_path / "nfs" / "trials").iterdir())) == 2
    s.discard()
    assert list((tmp_path / "nfs" / "trials").iterdir()) == []


def fail(s: StudySearcher, trial_id: str, error: Exception) -> None:
    s.suggest(trial_id)
    ERRORS[trial_id] = RayTaskError("train", "Traceback ...", error)
    s.on_trial_complete(trial_id, error=True)
