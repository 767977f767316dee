"""Nodes that come and go in the middle of a search, as processes of Ray on this machine."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.cluster.ray_hosts import AHEAD
from tests.running_search import RUN, RunningSearch, decisions, records_in, records_of
from tune.experiment.trial_record import TrialRecord

pytestmark = pytest.mark.timeout(900)  # searches as processes of their own, beside others
SMALL = {"object_store_memory": 100 * 2**20, "include_dashboard": False}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head on which no trial runs."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    yield cluster
    cluster.shutdown()


@pytest.mark.skipif(not AHEAD, reason="no libfaketime: install Debian's faketime")
def test_a_node_that_comes_is_used_though_its_clock_is_wrong_and_one_that_goes_costs_an_epoch_at_most(
    cluster: Cluster, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cluster.add_node(num_cpus=1, **SMALL)
    flags = ["--recipes", "plain_cnn", "--trials", "6", "--max-epochs", "12", "--grace-period", "12"]
    with searching(cluster, tmp_path, cache, "x", *flags) as running:
        running.until("epoch", lambda found: [len(r.epochs) > 0 for r in found] == [True])
        with monkeypatch.context() as there:
            for variable, value in AHEAD.items():
                there.setenv(variable, value)
            second = cluster.add_node(num_cpus=1, **SMALL)
        running.until(
            "two trials that train", lambda found: sum(r.state == "running" and len(r.epochs) > 0 for r in found) == 2
        )
        assert ahead(cluster, second.node_id) == pytest.approx(3600, abs=60)
        cluster.remove_node(first, allow_graceful=False)
        assert running.end() == 0, running.said
    found = records_of(tmp_path / "x")
    assert [record.state for record in found] == ["complete"] * 6
    assert all([epoch["epoch"] for epoch in record.epochs] == list(range(1, 13)) for record in found)
    assert sorted(record.attempts for record in found) == [1, 1, 1, 1, 1, 2]


def test_with_one_trial_at_a_time_what_is_decided_is_the_same_though_its_node_is_lost(
    cluster: Cluster, tmp_path: Path, cache: Path
) -> None:
    first = cluster.add_node(num_cpus=1, **SMALL)
    flags = [
        "--recipes", "plain_cnn,mlp", "--trials", "8", "--max-epochs", "9", "--grace-period", "2",
        "--reduction-factor", "2", "--concurrent", "1",
    ]  # fmt: skip
    with searching(cluster, tmp_path, cache, "undisturbed", *flags) as running:
        assert running.end() == 0, running.said
    with searching(cluster, tmp_path, cache, "hit", *flags) as running:
        running.until("trial in the middle", lambda found: len(found) >= 3 and 2 <= len(found[-1].epochs) <= 5)
        cluster.remove_node(first, allow_graceful=False)
        cluster.add_node(num_cpus=1, **SMALL)
        assert running.end() == 0, running.said
    found = records_of(tmp_path / "hit")
    assert sorted(record.attempts for record in found) == [1, 1, 1, 1, 1, 1, 1, 2]
    assert {record.state for record in found} == {"complete", "pruned"}
    assert decisions(found) == decisions(records_of(tmp_path / "undisturbed"))


def test_ray_tells_an_actor_that_is_lost_with_its_node_from_one_that_dies(cluster: Cluster) -> None:
    """Ray has no public interface for this, so the test checks the installed Ray."""
    first = cluster.add_node(num_cpus=2, **SMALL)
    code = (
        "import os, sys, time, ray\n"
        "from tune.cluster.ray_private import died_with_its_node\n"
        "ray.init(sys.argv[1], log_to_driver=False)\n"
        "@ray.remote(num_cpus=1)\n"
        "class Trial:\n"
        "    def step(self): return True\n"
        "    def die(self): os._exit(1)\n"
        "def death(trial):\n"
        "    while True:\n"
        "        try: ray.get(trial.step.remote())\n"
        "        except ray.exceptions.ActorUnavailableError: pass\n"
        "        except ray.exceptions.ActorDiedError as error: return error\n"
        "        time.sleep(0.2)\n"
        "trials = [Trial.remote() for _ in range(2)]\n"
        "ray.get([trial.step.remote() for trial in trials])\n"
        "trials[0].die.remote()\n"
        "print('lost', died_with_its_node(death(trials[0])), flush=True)\n"
        "sys.stdin.readline()\n"
        "print('lost', died_with_its_node(death(trials[1])), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, cluster.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        assert driver.stdin
        assert driver.stdout
        told = (line.split()[1] for line in driver.stdout if line.startswith("lost"))  # among Ray's own output
        assert next(told) == "False"
        cluster.remove_node(first)
        driver.stdin.write("\n")
        driver.stdin.flush()
        assert next(told) == "True"


def searching(cluster: Cluster, out: Path, cache: Path, name: str, *flags: str) -> RunningSearch:
    search = [
        "--data", "digits", "--set", "plain_cnn.batch_size=32", "--final-seeds", "1", *flags,
        "--out", str(out), "--cache", str(cache), "--name", name, "--address", cluster.address,
    ]  # fmt: skip
    return RunningSearch([*RUN, *search], lambda: on_the_head(cache, name))


def ahead(cluster: Cluster, node: str) -> float:
    """Return the seconds by which the clock of a node's workers is ahead."""
    ask = (
        "import ray, time; from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On; "
        f"ray.init({cluster.address!r}); "
        f"there = ray.remote(lambda: time.time()).options(num_cpus=0, scheduling_strategy=On({node!r}, soft=False)); "
        "print('ahead', ray.get(there.remote()) - time.time())"
    )
    said = subprocess.run([sys.executable, "-W", "ignore", "-c", ask], capture_output=True, text=True, check=True)
    return float(said.stdout.split()[-1])


def on_the_head(cache: Path, name: str) -> list[TrialRecord]:
    """Return the trials of the head's own study; the experiment's folder has only a backup of it."""
    files = list(cache.glob(f"studies/{name}-*.db"))
    return records_in(files[0], name) if files else []
