"""`toprung doctor` and the first checks of a search, on a running cluster."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import ray

from trainables.storage.synced_folder import SyncedFolder
from tune import search
from tune.cli import main
from tune.cluster import checks
from tune.cluster.doctor import Probes, _visits
from tune.cluster.machine import CODE, Finding, Machine, look
from tune.cluster.nodes import Mark, mark, on_each_node
from tune.cluster.reachability import Peer, peers
from tune.cluster.resources import this_node
from tune.settings.settings import make

pytestmark = pytest.mark.usefixtures("ray_session")


def test_a_running_cluster_is_looked_at_by_its_address(tmp_path: Path) -> None:
    address = ray.get_runtime_context().gcs_address
    done = subprocess.run(
        [
            sys.executable, "-m", "tune.cli", "doctor", "--address", address, "--recipes", "knn",
            "--out", str(tmp_path / "results"), "--cache", str(tmp_path / "cache"),
        ],
        capture_output=True, text=True, env={**os.environ, "WANDB_MODE": "disabled"}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line[9:24].strip(): (line[:9].strip(), line[24:]) for line in done.stdout.splitlines()}
    assert lines["a trial"] == ("ok", "gets 1 core and 0 GPUs, 1 at a time")
    assert lines["versions"] == ("ok", "1 node: as on this machine")
    assert lines["storage"] == ("ok", f"1 node: {tmp_path}/results: seen and written to")
    assert lines["recipes"] == ("ok", "1 node: knn")
    assert lines["clocks"] == ("ok", "1 node: within 3 s of this machine's")
    assert lines["ports"] == ("ok", "1 node: there is no other node")
    assert lines["data"][1].startswith(
        "digits: 1,797 images of 10 classes, of which one was decoded; this machine alone needs to see them"
    )
    assert list(tmp_path.iterdir()) == [], "it leaves nothing"


def found(place: Path, probes: Probes | None = None, here: Machine | None = None) -> list[Finding]:
    """List the problems of the cluster, except disks, which other programs may fill."""
    settings = make({"address": "auto", "recipes": "knn", "out": str(place), "cache": str(place)})
    visits = _visits(settings, here or look({}), probes or Probes())
    return [finding for finding in visits if finding.level != "ok" and finding.check != "disk"]


def test_a_node_with_other_versions_or_another_clock_is_named(tmp_path: Path) -> None:
    here = look({})
    other = replace(here, versions={**here.versions, "torch": "2.11.0", CODE: "another"})
    node = f"node {here.host}: "
    wrong = found(tmp_path, Probes(clock=lambda: 0.0), here=other)
    assert [finding.text.removeprefix(node) for finding in wrong if finding.check == "versions"] == [
        f"torch {here.versions['torch']}, but 2.11.0 here; install the same on all nodes, as constraints.txt says",
        "toprung's code is not the driver's; bring this checkout to all nodes, as by ray up",
    ]
    assert all(finding.text.startswith(node) for finding in wrong)
    (clock,) = (finding for finding in wrong if finding.check == "clocks")
    assert " s ahead of this machine's; set it by NTP" in clock.text


@pytest.mark.usefixtures("_forgets_recipes")
def test_recipes_that_a_node_cannot_import_are_an_error(readme_recipe: Path, tmp_path: Path) -> None:
    file = readme_recipe / "trainables" / "linear.py"
    settings = make({"recipes": str(readme_recipe), "out": str(tmp_path), "cache": str(tmp_path), "address": "auto"})
    file.write_text("import no_such_library\n" + file.read_text())
    (error,) = (finding for finding in _visits(settings, look({}), Probes()) if finding.level == "error")
    assert error.check == "recipes"
    assert "no_such_library" in error.text
    assert error.text.endswith("; install on every node what it needs")


@contextmanager
def unseen(place: SyncedFolder) -> Iterator[Mark]:
    """A mark that is gone before a node looks for it."""
    with mark(place) as seen:
        (seen.place.folder / seen.name).unlink()
        yield seen


class Elsewhere(Mark):
    """A mark whose answers the driver does not find; on a node it is a mark like others."""

    def answer_of(self, node: str) -> str:
        return f"{self.name}-other"

    def __reduce__(self) -> tuple[type[Mark], tuple[SyncedFolder, str]]:
        return Mark, (self.place, self.name)


@contextmanager
def elsewhere(place: SyncedFolder) -> Iterator[Mark]:
    """A mark in a folder that is another one on the nodes."""
    with mark(place) as seen:
        yield Elsewhere(seen.place, seen.name)


def test_a_folder_that_is_not_the_same_on_a_node_is_an_error(tmp_path: Path) -> None:
    """Either the node does not see the driver's mark, or the driver does not see the node's files."""
    (error,) = found(tmp_path, Probes(mark=unseen))
    assert f"--out {tmp_path}: is not seen there; give --out that every node can write to" in error.text
    (error,) = found(tmp_path, Probes(mark=elsewhere))
    assert f"{tmp_path}: is another folder there" in error.text
    assert (error.level, error.check) == ("error", "storage")


def test_a_search_on_a_cluster_warns_of_other_versions_and_goes_on(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = look({})
    other = replace(here, versions={**here.versions, "timm": "0.9"})
    monkeypatch.setattr(search, "connect", lambda address: None)  # as these tests already have a session
    monkeypatch.setattr(checks, "look", lambda places: other)
    arguments = ["--recipes", "knn", "--trials", "1", "--limit", "100", "--out", str(tmp_path), "--cache", str(cache)]
    assert main(["search", "--address", "auto", "--name", "x", "--final-seeds", "1", *arguments]) == 0
    said = capsys.readouterr().out
    wanted = f"timm {here.versions['timm']}, but 0.9 here; install the same on all nodes, as constraints.txt says"
    assert f"warning: node {here.host}: {wanted}\n" in said
    assert not list((tmp_path / "x").glob(".seen-*"))


def test_who_cannot_be_reached_is_said_and_not_waited_for(tmp_path: Path) -> None:
    """A node whose ports a firewall closes to this machine, and one that another node does not reach."""
    here, nowhere = peers()[0], {"object manager": 1}
    other = Peer(node="0" * 56, host="b", address="127.0.0.1", ports=nowhere)
    probes = Probes(peers=lambda: [here, other])
    (error,) = found(tmp_path, probes)
    said = "does not reach b at 127.0.0.1:1 (object manager: Connection refused); open all TCP ports between the nodes"
    assert error.text.startswith(f"node {here.host}: {said}")
    assert (error.level, error.check) == ("error", "ports")
    (error,) = found(tmp_path, replace(probes, unreached=lambda tried: {}))  # on this machine, that is
    assert error.text.startswith(f"node {here.host}: {said}")


def wait_until_there(file: Path) -> None:
    while not file.exists():
        time.sleep(0.05)


def test_a_node_that_does_not_answer_is_named_in_time(tmp_path: Path) -> None:
    ((answer, done, total),) = on_each_node(partial(wait_until_there, tmp_path / "go"), patience=0.2)
    (tmp_path / "go").touch()  # and until then it would not have answered
    assert (done, total) == (1, 1)
    assert answer.problem.startswith(f"node {socket.gethostname()}: no answer within 0.2 s; ")
    assert answer.result is None


def test_a_node_can_be_left_out() -> None:
    assert list(on_each_node(os.getpid, but=[this_node()])) == []


def test_a_node_that_fails_says_why() -> None:
    ((answer, done, total),) = on_each_node(partial(Path("/nowhere").read_text))
    assert (done, total) == (1, 1)
    assert answer.result is None
    assert answer.problem.startswith("node ")
    assert "/nowhere" in answer.problem
    ((answer, _, _),) = on_each_node(partial(int, "x"))
    assert answer.problem.startswith("a node cannot be used: ValueError: ")
