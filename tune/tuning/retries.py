"""Trainings outside of Tune, in tasks that Ray begins again on another worker whenever theirs dies."""

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

ATTEMPTS = 3
"""How often a process begins a training in all that fails by its own error, or whose worker dies; lost nodes aside."""

GIVEN_UP = 90.0
"""Seconds after which a node that is still there was not lost; Ray takes up to a minute to give one up."""


def trainer(cpus: float, gpus: float) -> Any:
    """`attempt` as a task of Ray's that gets so many cores and GPUs; a lost node costs it nothing but time."""
    return ray.remote(attempt).options(num_cpus=cpus, num_gpus=gpus, max_retries=-1)


def attempt(place: SyncedFolder, name: str, train: Callable[..., T], *arguments: Any) -> T:
    """What `train` returns, in a task.

    Args:
        place: the folder in which attempts are noted, with its copy.
        name: of the training in it, with slashes.
        train: a function of a module.
        arguments: its own.

    Raises:
        RuntimeError: the worker of three earlier attempts died, and not with its node.
    """
    folder, _, last = name.rpartition("/")
    with _noted(place, f"{folder}/.{last}.attempts"):
        return train(*arguments)


@contextmanager
def _noted(place: SyncedFolder, file: str) -> Iterator[None]:
    """Note an attempt in a file, which is there until one of them ends."""
    job = ray.get_runtime_context().get_job_id()  # of an earlier driver, workers died with it
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
    """Raise an error if so many workers died on these nodes that nothing else can be expected.

    Ray may have told of a worker's death before it knew that the node is lost: that is waited for.
    """
    end = time.monotonic() + GIVEN_UP
    while len(died := [node for node in nodes if is_alive(node)]) >= ATTEMPTS:
        if set(died) == {this_node()} or time.monotonic() > end:
            raise RuntimeError(f"its worker died {ATTEMPTS} times")
        time.sleep(1.0)
