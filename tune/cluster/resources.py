"""What the machine or the cluster has, and whether it is enough for a trial."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import torch
from joblib import cpu_count
from ray._private.state import state as cluster

from search_spaces import InputError
from tune.settings.settings import HERE, Settings

Node = dict[str, float]

FRESH = 2.0
"""Seconds after which a cluster is asked again what it has."""


@dataclass(frozen=True)
class Resources:
    """What a trial gets, and how many run at a time."""

    cpus: float
    gpus: float
    concurrent: int

    def __str__(self) -> str:
        cores, gpus = "core" if self.cpus == 1 else "cores", "GPU" if self.gpus == 1 else "GPUs"
        return f"{self.cpus:g} {cores} and {self.gpus:g} {gpus}, {self.concurrent} at a time"

    @property
    def device(self) -> str:
        """Where trials train."""
        return "cuda" if self.gpus else "cpu"

    @property
    def threads(self) -> int:
        """Torch's threads in a trial."""
        return max(1, int(self.cpus))


def this_machine() -> Node:
    """What this machine has; Ray need not run."""
    return {"CPU": float(cpu_count()), "GPU": float(torch.cuda.device_count())}


def alive_nodes() -> list[dict[str, Any]]:
    """The nodes of the connected cluster that are there, as Ray tells of them."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def cluster_nodes() -> tuple[list[Node], list[Node]]:
    """What the nodes of the connected cluster have, and those that its autoscaler can run."""
    there = [node["Resources"] for node in alive_nodes()]
    config = cluster.get_cluster_config()
    groups = config.node_group_configs if config is not None else ()
    return there, [dict(group.resources) for group in groups for _ in range(group.max_count)]


class Slots:
    """How many trials may run at a time: what was allotted or, on a cluster, what it has room for by now."""

    def __init__(self, settings: Settings, allotted: int) -> None:
        self._settings, self._slots, self._looked = settings, allotted, time.monotonic()

    def __call__(self) -> int:
        """The slots, as they were `FRESH` seconds ago at most."""
        if self._settings.address != HERE and time.monotonic() - self._looked > FRESH:
            with suppress(InputError):  # for a moment no node may be there
                self._slots = allot(self._settings, *cluster_nodes()).concurrent
            self._looked = time.monotonic()
        return self._slots


def this_node() -> str:
    """The id of the node that this process runs on."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


def is_alive(node: str) -> bool:
    """Whether a node of the connected cluster, by its id, is still there."""
    return any(each["NodeID"] == node for each in alive_nodes())


def allot(settings: Settings, there: list[Node], startable: list[Node] | None = None) -> Resources:
    """What a trial gets on the nodes that are there, or on those that an autoscaler can run instead.

    Raises:
        InputError: no node has what a trial asks for, as one node holds a trial.
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
        on_a_gpu = math.floor(1 / gpus + 1e-9) if gpus else 0  # a trial does not reach over two
        by_gpu = [n.get("GPU", 0.0) * on_a_gpu if gpus else math.inf for n in nodes]
        return sum(math.floor(min(n.get("CPU", 0.0) / cpus, slots)) for n, slots in zip(nodes, by_gpu, strict=True))

    most_at_once = max(fit(there), fit(startable or []))
    if most_at_once == 0:
        raise InputError(f"no node has both {cpus:g} cores and {gpus:g} GPUs for a trial; ask for less of one")
    return Resources(cpus, gpus, min(most_at_once, settings.concurrent or most_at_once))
