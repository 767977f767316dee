"""Checks, before a search begins, that every node of a cluster has and sees what it needs."""

import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search_spaces import InputError
from trainables.storage.synced_folder import SyncedFolder, reason_of
from tune.cluster.machine import Machine, look
from tune.cluster.resources import alive_nodes, is_alive
from tune.experiment.trial_context import TrialContext

T = TypeVar("T")

NO_REPLY = "it is overloaded, or a firewall closes the ports of Ray's workers: open all TCP ports between the nodes"


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[T]):
    """The answer of a node.

    Attributes:
        node: its id.
        gpus: the number of its GPUs, as Ray counts them.
        result: the function's return value there; None if the call failed.
        problem: the node and why the call failed; empty if it did not.
    """

    node: str
    gpus: float
    result: T | None = None
    problem: str = ""


@dataclass(frozen=True)
class Mark:
    """A file in a place that all nodes should see. Each node that sees it writes an answer file beside it."""

    place: SyncedFolder
    name: str

    def answer(self) -> None:
        """Write the answer file of this node, which shows that it sees the mark.

        Raises:
            InputError: this node does not see the mark.
            OSError: the place cannot be written to.
        """
        place = replace(self.place, patience=0.0)
        if not place.exists(self.name):
            raise InputError(f"--out {place}: is not seen there")
        _write(place, self.answer_of(ray.get_runtime_context().get_node_id()))

    def answer_of(self, node: str) -> str:
        """Return the name of a node's answer file."""
        return f"{self.name}-{node}"

    def check(self, node: str) -> None:
        """Check on the driver, after a node has answered, that its answer file is here.

        Raises:
            InputError: the node sees another place of the same name.
        """
        if not self.place.exists(self.answer_of(node)):
            raise InputError(f"{self.place}: is another folder there")


@contextmanager
def mark(place: SyncedFolder) -> Iterator[Mark]:
    """Make a mark in a place, and delete it with all answer files at the end.

    Raises:
        OSError: the place cannot be written to.
    """
    made = Mark(place, f".seen-{uuid4().hex}")
    nodes = [node["NodeID"] for node in alive_nodes()]
    _write(place, made.name)
    try:
        yield made
    finally:
        for name in [made.name, *map(made.answer_of, nodes)]:
            (place.folder / name).unlink(missing_ok=True)
            place.remove(name)


def prepare_nodes(
    shown: Sequence[TrialContext], places: Mapping[str, str], *, progress: Callable[[int, int], None]
) -> list[tuple[Machine, bool]]:
    """Have each live node check that it has what trials need, and copy images and weights to its own disk.

    A node that joins later does this in its first trial.

    Args:
        shown: trial settings for each input variant of the data.
        places: the folders that a node writes to, by flag.
        progress: called with (nodes done, nodes in all).

    Returns:
        The state of each node's machine, and True if the node has GPUs to train on.

    Raises:
        InputError: a node does not see something that it needs.
    """
    found = []
    with mark(shown[0].place) as seen:
        for answer, done, total in on_each_node(partial(_prepare, seen, list(shown), dict(places))):
            problem = answer.problem
            if not problem:
                try:
                    seen.check(answer.node)
                except InputError as error:
                    problem = str(error)
            if problem:
                raise InputError(f"{problem}; give --out and --recipes that every node of the cluster sees")
            if answer.result is not None:
                found.append((answer.result, answer.gpus > 0))
            progress(done, total)
    return found


def on_each_node(
    ask: Callable[[], T], *, but: Collection[str] = (), patience: float | None = None
) -> Iterator[tuple[Answer[T], int, int]]:
    """Call a function on each live node; leave out nodes that are lost meanwhile.

    Args:
        ask: a module-level function, or a partial of one; its InputError or OSError becomes the node's problem.
        but: ids of the nodes to skip.
        patience: seconds after which a node without an answer has a problem; None to wait for all nodes.

    Yields:
        (answer, nodes done, nodes in all), as the answers come.
    """
    nodes = [node for node in alive_nodes() if node["NodeID"] not in but]
    waiting = {
        _call.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(ask): node
        for node in nodes
    }
    end = None if patience is None else time.monotonic() + patience
    while waiting:
        ready, late = ray.wait(list(waiting), timeout=None if end is None else max(0.0, end - time.monotonic()))
        done = (ready or late)[0]
        node = waiting.pop(done)
        came = partial(Answer[T], node=node["NodeID"], gpus=node["Resources"].get("GPU", 0.0))
        try:
            if ready:
                result, problem = ray.get(done)
            else:
                result, problem = (
                    None,
                    f"node {node['NodeManagerHostname']}: no answer within {patience:g} s; {NO_REPLY}",
                )
        except ray.exceptions.RayError as error:
            if not is_alive(node["NodeID"]):
                continue  # a lost node needs to see nothing
            result, problem = None, f"a node cannot be used: {str(error).strip().splitlines()[-1]}"
        yield came(result=result, problem=problem), len(nodes) - len(waiting), len(nodes)


def _write(place: SyncedFolder, name: str) -> None:
    place.folder.mkdir(parents=True, exist_ok=True)
    (place.folder / name).touch()
    place.push(name)
    if place.copy is not None:
        (place.folder / name).unlink()  # it was only needed to make the copy


@ray.remote
def _call(ask: Callable[[], Any]) -> tuple[Any, str]:
    """Return the function's result on this node, and its problem, which is empty if there is none."""
    here = f"node {socket.gethostname()}"
    try:
        return ask(), ""
    except InputError as error:
        return None, f"{here}: {error}"
    except OSError as error:
        return None, f"{here}: {reason_of(error)}"


def _prepare(seen: Mark, shown: list[TrialContext], places: dict[str, str]) -> Machine:
    seen.answer()
    for settings in shown:
        settings.prepare_process()
    return look(places)
