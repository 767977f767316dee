"""Checks that the nodes of a cluster reach each other. A firewall that drops packets shows as a search that hangs."""

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import ray

from tune.cluster.resources import alive_nodes

CONNECT_TIMEOUT_S = 3.0
"""Seconds that a port has to answer."""

NEIGHBOURS = 3
"""Nodes besides the head that each node tries to reach. Two hundred nodes then take as long as five."""

AT_ONCE = 128
"""Connections that are tried in parallel."""

HEAD = "node:__internal_head__"
"""The resource by which Ray marks the head."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A node as the others reach it.

    Attributes:
        node: its id.
        host: its name.
        address: its IP address in the cluster.
        ports: numbers of the TCP ports that it listens on, by the name of the listening service.
    """

    node: str
    host: str
    address: str
    ports: dict[str, int]


def peers() -> list[Peer]:
    """Return the live nodes of the connected cluster, the head first."""
    gcs = int(ray.get_runtime_context().gcs_address.rpartition(":")[2])
    found = []
    for node in sorted(alive_nodes(), key=lambda node: HEAD not in node["Resources"]):
        ports = {"node manager": node["NodeManagerPort"], "object manager": node["ObjectManagerPort"]}
        if HEAD in node["Resources"]:
            ports["GCS"] = gcs
        found.append(
            Peer(node=node["NodeID"], host=node["NodeManagerHostname"], address=node["NodeManagerAddress"], ports=ports)
        )
    return found


def near(node: str, found: Sequence[Peer]) -> list[Peer]:
    """Return the nodes that a node tries to reach: the head and its successors in a ring, so that several try each.

    Args:
        node: its id.
        found: nodes as from `peers`; the node itself is missing if it has joined since.
    """
    place = next((number for number, peer in enumerate(found) if peer.node == node), 0)
    after = [peer for peer in (*found[place:], *found[:place]) if peer.node != node]
    return [peer for number, peer in enumerate(after) if number < NEIGHBOURS or peer is found[0]]


def unreached(tried: Sequence[Peer], timeout_s: float = CONNECT_TIMEOUT_S) -> dict[str, str]:
    """Return the nodes that this machine does not reach, by id: the host, and each failed port with the reason."""
    doors = [(peer, of, number) for peer in tried for of, number in peer.ports.items()]
    if not doors:
        return {}
    with ThreadPoolExecutor(min(AT_ONCE, len(doors))) as pool:
        reasons = list(pool.map(lambda door: _problem(door[0].address, door[2], timeout_s), doors))
    failed: dict[str, list[str]] = {}
    for (peer, of, number), reason in zip(doors, reasons, strict=True):
        if reason:
            failed.setdefault(peer.node, []).append(f"{peer.address}:{number} ({of}: {reason})")
    hosts = {peer.node: peer.host for peer in tried}
    return {node: f"{hosts[node]} at {', '.join(ports)}" for node, ports in failed.items()}


def _problem(address: str, number: int, timeout_s: float) -> str:
    try:
        socket.create_connection((address, number), timeout_s).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
