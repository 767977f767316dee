"""Trainings outside of Tune, in tasks that Ray retries on another worker if theirs dies."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

import ray

from trainables.storage.synced_folder import SyncedFolder
from tune.cluster.resources import is_alive, this_node

T = TypeVar("T")

MAX_FAILURES = 3
"""The most tries per process that may end by an error or a worker's death; tries on lost nodes do not count."""

NODE_LOSS_TIMEOUT_S = 90.0
"""Seconds after which a node that is still alive was not lost. Ray takes up to a minute to declare one dead."""


def trainer(cpus: float, gpus: float) -> Any:
    """Return `attempt` as a Ray task with `cpus` cores and `gpus` GPUs; a lost node costs it only time."""
    return ray.remote(attempt).options(num_cpus=cpus, num_gpus=gpus, max_retries=-1)


def attempt(place: SyncedFolder, name: str, train: Callable[..., T], *arguments: Any) -> T:
    """Run `train` in a task, and return its result.

    Args:
        place: the folder in which tries are noted, with its copy.
        name: of the training in that folder, with slashes.
        train: a function of a module.
        arguments: of `train`.

    Raises:
        RuntimeError: the workers of three earlier tries died, and their nodes did not.
    """
    folder, _, last = name.rpartition("/")
    with _noted(place, f"{folder}/.{last}.attempts"):
        return train(*arguments)


@contextmanager
def _noted(place: SyncedFolder, file: str) -> Iterator[None]:
    """Note a try in a file, which exists until one try ends."""
    job = ray.get_runtime_context().get_job_id()  # workers of an earlier driver died with it
    before = [each for each in json.loads(place.read(file) or "[]") if each["job"] == job]
    place.write(file, json.dumps([*before, {"job": job, "node": this_node()}]))
    try:
        _refuse([each["node"] for each in before])
        yield
    finally:
        with suppress(OSError):
            (place.folder / file).unlink(missing_ok=True)
            replace(place, patience=0.0).remove(file)


def _refuse(nodes: list[str]) -> None:
    """Raise RuntimeError if MAX_FAILURES workers died on nodes that are still alive, as another try would fail, too.

    Ray may report a worker's death before it knows that the node is lost, so the function waits until that is certain.
    """
    end = time.monotonic() + NODE_LOSS_TIMEOUT_S
    while len(died := [node for node in nodes if is_alive(node)]) >= MAX_FAILURES:
        if set(died) == {this_node()} or time.monotonic() > end:
            raise RuntimeError(f"its worker died {MAX_FAILURES} times")
        time.sleep(1.0)
