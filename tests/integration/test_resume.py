"""Searches that are stopped or killed in the middle, as processes of their own, and go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from search_spaces import InputError
from tune.cli import main
from tune.experiment import Experiment
from tune.record import Record
from tune.study import SearchStudy

pytestmark = pytest.mark.usefixtures("ray_session")

RUN = Path(__file__).parent.parent.parent / "tune" / "run.py"
WAIT = 120.0


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def arguments(out: Path, cache: Path) -> list[str]:
    """A search whose decisions can be repeated: one trial at a time."""
    return [
        "--data", "digits", "--recipes", "plain_cnn,knn",
        "--set", "plain_cnn.width=16", "--set", "plain_cnn.batch_size=32",
        "--trials", "10", "--max-epochs", "9", "--grace-period", "2", "--reduction-factor", "2", "--concurrent", "1",
        "--final-seeds", "1", "--out", str(out), "--cache", str(cache),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(ray_session: None, out: Path, arguments: list[str]) -> list[Record]:
    assert main(["search", *arguments, "--name", "undisturbed"]) == 0
    return records(out / "undisturbed")


@pytest.fixture
def start(arguments: list[str]) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts `python tune/run.py` in a process group of its own, as a terminal does."""
    started = []

    def start(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(RUN), *arguments, "--name", name],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def records(folder: Path) -> list[Record]:
    experiment = Experiment.open(folder)
    return SearchStudy.load(experiment.storage, experiment.settings.name).records


def wait_for(condition: Callable[[list[Record]], bool], folder: Path, process: subprocess.Popen[str]) -> None:
    """Until the study of a running search is as wanted, and then hold the search there, until it is sent SIGCONT."""
    began = time.monotonic()
    while time.monotonic() - began < WAIT:
        assert process.poll() is None, process.communicate()
        with suppress(InputError, SQLAlchemyError):  # folder and study may be half made
            if condition(records(folder)):
                process.send_signal(signal.SIGSTOP)
                if condition(records(folder)):
                    return
                process.send_signal(signal.SIGCONT)
        time.sleep(0.1)
    pytest.fail(f"the search did not come so far in {WAIT:g} s")


def in_the_middle(found: list[Record]) -> bool:
    return len(found) >= 4 and any(r.state == "running" and 1 <= len(r.epochs) <= 6 for r in found)


def decisions(found: list[Record]) -> list[tuple[object, ...]]:
    return [(r.number, r.recipe, r.config, r.seed, r.state, r.values) for r in found]


def test_killed_at_once_and_resumed_it_decides_as_if_it_had_not_been(
    out: Path, undisturbed: list[Record], start: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = start("killed")
    wait_for(in_the_middle, out / "killed", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    cut_off = records(out / "killed")
    assert any(record.state == "running" for record in cut_off)
    ended = [record for record in cut_off if record.state != "running"]
    assert main(["search", "--resume", str(out / "killed")]) == 0
    found = records(out / "killed")
    assert decisions(found) == decisions(undisturbed)
    assert [found[record.number] for record in ended] == ended
    assert [r.attempts for r in found if r.number in {c.number for c in cut_off if c.state == "running"}] == [2]


def test_ctrl_c_stops_in_order_and_says_how_to_go_on(
    out: Path, undisturbed: list[Record], start: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = start("stopped")
    wait_for(in_the_middle, out / "stopped", process)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    process.send_signal(signal.SIGCONT)
    output, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 130
    assert "stopping in order; once more to stop at once" in output
    assert f"go on with: toprung search --resume {out / 'stopped'}" in errors
    assert "Traceback" not in output + errors
    stopped = records(out / "stopped")
    assert any(record.state == "running" for record in stopped)
    assert main(["search", "--resume", str(out / "stopped")]) == 0
    assert decisions(records(out / "stopped")) == decisions(undisturbed)


def test_ctrl_c_twice_stops_at_once_and_loses_nothing(
    out: Path, undisturbed: list[Record], start: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = start("twice")
    wait_for(in_the_middle, out / "twice", process)
    os.killpg(process.pid, signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=WAIT)
    assert process.returncode == 130
    assert "Traceback" not in output + errors
    stopped = [record for record in records(out / "twice") if record.state != "running"]
    assert decisions(stopped) == decisions([undisturbed[record.number] for record in stopped])


def test_an_experiment_that_is_being_searched_cannot_be_resumed_beside_it(
    out: Path, start: Callable[[str], subprocess.Popen[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    process = start("busy")
    wait_for(lambda found: len(found) >= 1, out / "busy", process)
    assert main(["search", "--resume", str(out / "busy")]) == 2
    assert "is being searched by another process" in capsys.readouterr().err
