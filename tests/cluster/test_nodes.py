"""Nodes that come and go in the middle of a search, as processes of Ray on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from sqlalchemy.exc import SQLAlchemyError

from search_spaces import InputError
from tune.experiment import Experiment
from tune.record import Record
from tune.study import SearchStudy

RUN = Path(__file__).parent.parent.parent / "tune" / "run.py"
WAIT = 300.0
FAKETIME = next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), "")
AHEAD = {"LD_PRELOAD": FAKETIME, "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if FAKETIME else {}
"""The clock of a node that is an hour ahead, where Debian's package faketime is there."""
SMALL = {"object_store_memory": 100 * 2**20, "include_dashboard": False}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head on which no trial runs."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    yield cluster
    cluster.shutdown()


def test_a_node_that_comes_is_used_though_its_clock_is_wrong_and_one_that_goes_costs_an_epoch_at_most(
    cluster: Cluster, tmp_path: Path, cache: Path
) -> None:
    first = cluster.add_node(num_cpus=1, **SMALL)
    search = [
        "--data", "digits", "--recipes", "plain_cnn", "--set", "plain_cnn.batch_size=32", "--trials", "6",
        "--max-epochs", "12", "--grace-period", "12", "--final-seeds", "1",
        "--out", str(tmp_path), "--cache", str(cache), "--name", "x", "--address", cluster.address,
    ]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, str(RUN), *search],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            until(lambda found: [len(r.epochs) > 0 for r in found] == [True], tmp_path, cache, process)
            cluster.add_node(num_cpus=1, env_vars=AHEAD, **SMALL)
            until(
                lambda found: sum(r.state == "running" and len(r.epochs) > 0 for r in found) == 2,
                tmp_path,
                cache,
                process,
            )
            cluster.remove_node(first, allow_graceful=False)
            said, _ = process.communicate(timeout=WAIT)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    experiment = Experiment.open(tmp_path / "x")
    found = SearchStudy.load(experiment.storage, "x").records
    assert [record.state for record in found] == ["complete"] * 6
    assert all([epoch["epoch"] for epoch in record.epochs] == list(range(1, 13)) for record in found)
    assert sorted(record.attempts for record in found) == [1, 1, 1, 1, 1, 2]


def until(true: Callable[[list[Record]], bool], out: Path, cache: Path, process: subprocess.Popen[str]) -> None:
    """Until the study on the head is as wanted."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        begun = (out / "x" / "settings.yaml").exists()  # before, who opens a study would make its tables
        for file in cache.glob("studies/x-*.db") if begun else ():
            with suppress(InputError, SQLAlchemyError):
                if true(SearchStudy.load(f"sqlite:///{file}", "x").records):
                    return
        time.sleep(0.1)
    pytest.fail(f"the search did not come so far in {WAIT:g} s")
