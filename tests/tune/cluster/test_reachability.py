"""The check that nodes reach each other, on ports of this machine; tests/integration has it on a cluster."""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tune.cluster.reachability import NEIGHBOURS, Peer, near, unreached


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that never answers, as behind a firewall that drops packets: its queue is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def peer(name: str, **numbers: int) -> Peer:
    return Peer(node=f"id of {name}", host=name, address="127.0.0.1", ports=numbers)


def test_what_answers_is_reached(listening: int) -> None:
    assert unreached([]) == {}
    assert unreached([peer("a", raylet=listening), peer("b", raylet=listening)]) == {}


def test_a_port_that_nobody_listens_on_is_named_with_its_host(listening: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    found = unreached([peer("a", raylet=listening), peer("b", raylet=listening, objects=closed)])
    assert found == {"id of b": f"b at 127.0.0.1:{closed} (objects: Connection refused)"}


def test_ports_that_do_not_answer_are_waited_for_side_by_side(silent: int) -> None:
    found = unreached([peer(str(number), raylet=silent, objects=silent) for number in range(20)], timeout_s=0.3)
    assert len(found) == 20
    assert found["id of 7"] == f"7 at 127.0.0.1:{silent} (raylet: timed out), 127.0.0.1:{silent} (objects: timed out)"


def test_of_many_nodes_each_tries_the_head_and_a_few_and_is_tried_by_as_many() -> None:
    nodes = [peer(str(number)) for number in range(200)]
    tried = {node.node: near(node.node, nodes) for node in nodes}
    assert max(len(each) for each in tried.values()) == NEIGHBOURS + 1
    assert all(nodes[0] in each for name, each in tried.items() if name != nodes[0].node)
    times = Counter(each.node for others in tried.values() for each in others)
    assert times.pop(nodes[0].node) == 199
    assert set(times.values()) == {NEIGHBOURS}
    assert [each.host for each in tried["id of 199"]] == ["0", "1", "2"]


def test_of_few_nodes_each_tries_all_others_once() -> None:
    nodes = [peer(str(number)) for number in range(4)]
    for node in nodes:
        assert {each.host for each in near(node.node, nodes)} == {each.host for each in nodes} - {node.host}
        assert len(near(node.node, nodes)) == 3
    assert near("id of 0", nodes[:1]) == []
