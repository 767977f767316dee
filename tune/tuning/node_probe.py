"""The searcher's view of the cluster: the trials that it has room for, and the nodes that it has lost."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tune.cluster.ray_private import died_with_its_node
from tune.cluster.resources import Slots, is_alive, this_node
from tune.settings.settings import Settings
from tune.tuning.retries import NODE_LOSS_TIMEOUT_S


@dataclass(frozen=True)
class WorkerDeath:
    """A worker's death without an error: its node and time. The trial caused it, unless the node was lost."""

    node: str | None
    when: float


class NodeProbe:
    """A probe of the nodes of the connected cluster.

    Args:
        settings: what a trial asks for.
        concurrent: the number of trials that may run at a time as long as no node joins or leaves.
        node_loss_timeout_s: seconds after which a node that is still alive was not lost.
    """

    def __init__(
        self, settings: Settings, concurrent: int, *, node_loss_timeout_s: float = NODE_LOSS_TIMEOUT_S
    ) -> None:
        self.slots: Callable[[], int] = Slots(settings, concurrent)
        self.node_loss_timeout_s = node_loss_timeout_s

    def is_alive(self, node: str) -> bool:
        """Return True if the cluster still has the node with this id."""
        return is_alive(node)

    def this_node(self) -> str:
        """Return the id of the driver's node."""
        return this_node()

    def died_with_its_node(self, error: Exception | None) -> bool:
        """Return True if Ray says that an actor was lost with its node, given the actor's error."""
        return died_with_its_node(error)

    def lost_with(self, death: WorkerDeath) -> bool:
        """Return True if a worker's node was lost too."""
        return death.node is not None and not self.is_alive(death.node)

    def not_lost_with(self, death: WorkerDeath) -> bool:
        """Return True if a loss of a worker's node would be known by now; the driver's own node was not lost."""
        own = death.node in (None, self.this_node())
        return own or time.monotonic() - death.when > self.node_loss_timeout_s
