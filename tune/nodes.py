"""What every node of a cluster must see, looked at before a search begins."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search_spaces import InputError
from trainables._data import ensure_local_store
from trainables._weights import weights_of_experiment
from tune.resources import is_alive
from tune.worker import TrialSettings


def prepare_nodes(folders: Sequence[Path], settings: TrialSettings, *, progress: Callable[[int, int], None]) -> None:
    """Have each node that is there look for what trials need, and decode the images.

    A node that joins later does so in its first trial.

    Args:
        folders: with prepared data; the first is the experiment's own.
        settings: of the trials.
        progress: called with (nodes done, nodes in all).

    Raises:
        InputError: a node does not see something.
    """
    mark = folders[0] / f".seen-{uuid4().hex}"
    mark.touch()
    try:
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        waiting = {
            _prepare.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                mark, list(folders), settings
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
            if not problem and not _answer(mark, node).exists():
                problem = f"{mark.parent}: is another folder there"
            if problem:
                raise InputError(f"{problem}; give --out, --data and --recipes that every node of the cluster sees")
            progress(len(nodes) - len(waiting), len(nodes))
    finally:
        for each in mark.parent.glob(f"{mark.name}*"):
            each.unlink()


def _answer(mark: Path, node: str) -> Path:
    return mark.with_name(f"{mark.name}-{node}")


@ray.remote
def _prepare(mark: Path, folders: list[Path], settings: TrialSettings) -> str:
    """What is wrong on this node, or nothing."""
    here = f"node {socket.gethostname()}"
    try:
        if not mark.exists():
            return f"{here}: --out {mark.parent.parent}: is not seen there"
        _answer(mark, ray.get_runtime_context().get_node_id()).touch()
        settings.prepare_process()
        for folder in folders:
            ensure_local_store(folder)
            for weights in weights_of_experiment(folder).values():
                if not Path(weights.file).exists():
                    return f"{here}: {weights.file}: is not seen there"
    except (InputError, OSError) as error:
        return f"{here}: {error}"
    return ""
