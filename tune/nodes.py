"""What every node of a cluster must have and see, looked at before a search begins."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search_spaces import InputError
from trainables._synced import SyncedFolder, reason_of
from tune.resources import is_alive
from tune.worker import TrialSettings


def prepare_nodes(shown: Sequence[TrialSettings], *, progress: Callable[[int, int], None]) -> None:
    """Have each node that is there look for what trials need, and bring images and weights to its own disk.

    A node that joins later does so in its first trial.

    Args:
        shown: settings of trials for each of the views of the data.
        progress: called with (nodes done, nodes in all).

    Raises:
        InputError: a node does not see something.
    """
    place = shown[0].place
    mark = f".seen-{uuid4().hex}"
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    _write(place, mark)
    try:
        waiting = {
            _prepare.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                mark, list(shown)
            ): node
            for node in nodes
        }
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            node = waiting.pop(done)
            try:
                problem = ray.get(done)
            except ray.exceptions.RayError as error:
                if not is_alive(node):
                    continue  # what is lost needs to see nothing
                problem = f"a node cannot be used: {str(error).strip().splitlines()[-1]}"
            if not problem and not place.exists(_answer(mark, node)):
                problem = f"{place}: is another folder there"
            if problem:
                raise InputError(f"{problem}; give --out and --recipes that every node of the cluster sees")
            progress(len(nodes) - len(waiting), len(nodes))
    finally:
        for name in [mark, *(_answer(mark, node) for node in nodes)]:
            (place.folder / name).unlink(missing_ok=True)
            place.remove(name)


def _answer(mark: str, node: str) -> str:
    return f"{mark}-{node}"


def _write(place: SyncedFolder, name: str) -> None:
    place.folder.mkdir(parents=True, exist_ok=True)
    (place.folder / name).touch()
    place.push(name)


@ray.remote
def _prepare(mark: str, shown: list[TrialSettings]) -> str:
    """What is wrong on this node, or nothing."""
    here = f"node {socket.gethostname()}"
    try:
        place = replace(shown[0].place, patience=0.0)
        if not place.exists(mark):
            return f"{here}: --out {place}: is not seen there"
        _write(place, _answer(mark, ray.get_runtime_context().get_node_id()))
        for settings in shown:
            settings.prepare_process()
    except InputError as error:
        return f"{here}: {error}"
    except OSError as error:
        return f"{here}: {reason_of(error)}"
    return ""
