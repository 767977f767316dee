"""Resources of the machine or the cluster, and the check that they are enough for a trial."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import torch
from joblib import cpu_count

from search_spaces import InputError
from tune.cluster.ray_private import startable_nodes
from tune.settings.groups import HERE
from tune.settings.settings import Settings

Node = dict[str, float]

FRESH_S = 2.0
"""Seconds after which a cluster is asked again for its resources."""


@dataclass(frozen=True)
class Resources:
    """The resources of a trial, and the number of trials that run at a time."""

    cpus: float
    gpus: float
    concurrent: int

    def __str__(self) -> str:
        cores, gpus = "core" if self.cpus == 1 else "cores", "GPU" if self.gpus == 1 else "GPUs"
        return f"{self.cpus:g} {cores} and {self.gpus:g} {gpus}, {self.concurrent} at a time"

    @property
    def device(self) -> str:
        """The device that trials train on."""
        return "cuda" if self.gpus else "cpu"

    @property
    def threads(self) -> int:
        """The number of torch threads in a trial."""
        return max(1, int(self.cpus))


def this_machine() -> Node:
    """Return the resources of this machine; Ray need not run."""
    return {"CPU": float(cpu_count()), "GPU": float(torch.cuda.device_count())}


def alive_nodes() -> list[dict[str, Any]]:
    """Return the live nodes of the connected cluster, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def cluster_nodes() -> tuple[list[Node], list[Node]]:
    """Return the resources of the connected cluster's live nodes, and of the nodes that its autoscaler can run."""
    return [node["Resources"] for node in alive_nodes()], startable_nodes()


class Slots:
    """The number of trials that may run at a time: as allotted or, on a cluster, as many as it has room for now."""

    def __init__(
        self,
        settings: Settings,
        allotted: int,
        nodes: Callable[[], tuple[list[Node], list[Node]]] = cluster_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._slots, self._nodes, self._clock = settings, allotted, nodes, clock
        self._looked = clock()

    def __call__(self) -> int:
        """Return the number of slots, at most `FRESH_S` seconds old."""
        if self._settings.address != HERE and self._clock() - self._looked > FRESH_S:
            with suppress(InputError):  # the cluster may have no node for a moment
                self._slots = allot(self._settings, *self._nodes()).concurrent
            self._looked = self._clock()
        return self._slots


def this_node() -> str:
    """Return the id of the node that this process runs on."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


def is_alive(node: str) -> bool:
    """Return True if the connected cluster still has the node with this id."""
    return any(each["NodeID"] == node for each in alive_nodes())


def allot(settings: Settings, there: list[Node], startable: list[Node] | None = None) -> Resources:
    """Return the resources of a trial on the live nodes, or on the nodes that an autoscaler can run instead.

    Raises:
        InputError: no single node has what a trial asks for; a trial cannot span nodes.
    """
    nodes = there + (startable or [])
    most = {kind: max(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU")}
    cpus = settings.cpus_per_trial
    gpus = settings.gpus_per_trial
    if gpus is None:
        gpus = min(1.0, most["GPU"])
    for flag, asked, kind in (("cpus", cpus, "CPU"), ("gpus", gpus, "GPU")):
        if asked > most[kind]:
            raise InputError(
                f"--{flag}-per-trial {asked:g}: no node has more than {most[kind]:g} {kind}s; ask for at most that"
            )

    def fit(nodes: list[Node]) -> int:
        on_a_gpu = math.floor(1 / gpus + 1e-9) if gpus else 0  # a trial does not span two GPUs
        by_gpu = [n.get("GPU", 0.0) * on_a_gpu if gpus else math.inf for n in nodes]
        return sum(math.floor(min(n.get("CPU", 0.0) / cpus, slots)) for n, slots in zip(nodes, by_gpu, strict=True))

    most_at_once = max(fit(there), fit(startable or []))
    if most_at_once == 0:
        raise InputError(f"no node has both {cpus:g} cores and {gpus:g} GPUs for a trial; ask for less of one")
    return Resources(cpus, gpus, min(most_at_once, settings.concurrent or most_at_once))
