"""Searches that are stopped or killed in the middle, as processes of their own, and go on."""

import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.running_search import RUN, TRIAL, RunningSearch, decisions, records_of
from tune.cli import main
from tune.record import Record

pytestmark = pytest.mark.usefixtures("ray_session")


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
    return records_of(out / "undisturbed")


@pytest.fixture
def start(out: Path, arguments: list[str]) -> Callable[[str], RunningSearch]:
    """Starts such a search as a process, with a name."""
    return lambda name: RunningSearch([*RUN, *arguments, "--name", name], lambda: records_of(out / name))


def in_the_middle(found: list[Record]) -> bool:
    return len(found) >= 4 and any(r.state == "running" and 1 <= len(r.epochs) <= 6 for r in found)


def test_killed_at_once_and_resumed_it_decides_as_if_it_had_not_been(
    out: Path, undisturbed: list[Record], start: Callable[[str], RunningSearch]
) -> None:
    with start("killed") as search:
        search.until("a trial in the middle", in_the_middle, hold=True)
        search.process.kill()
        search.end()
        cut_off = records_of(out / "killed")
    assert any(record.state == "running" for record in cut_off)
    ended = [record for record in cut_off if record.state != "running"]
    assert main(["search", "--resume", str(out / "killed")]) == 0
    found = records_of(out / "killed")
    assert decisions(found) == decisions(undisturbed)
    assert [found[record.number] for record in ended] == ended
    assert [r.attempts for r in found if r.number in {c.number for c in cut_off if c.state == "running"}] == [2]


def test_processes_of_trials_are_killed_then_ctrl_c_stops_it_and_resumed_it_decides_as_if_nothing_had_been(
    out: Path, undisturbed: list[Record], start: Callable[[str], RunningSearch]
) -> None:
    hit: list[int] = []

    def another_in_the_middle(found: list[Record]) -> bool:
        return in_the_middle(found) and found[-1].number not in hit

    with start("stopped") as search:
        for _ in range(2):
            found = search.until("another trial in the middle", another_in_the_middle, hold=True)
            hit.append(found[-1].number)
            (trial,) = trials_of(search)
            trial.kill()
            search.process.send_signal(signal.SIGCONT)
        found = search.until("a third one", another_in_the_middle, hold=True)
        hit.append(found[-1].number)
        search.interrupt()
        assert search.end() == 130
        assert "stopping in order; once more to stop at once" in search.output
        assert f"go on with: toprung search --resume {out / 'stopped'}" in search.errors
        assert "Traceback" not in search.said
    assert records_of(out / "stopped")[-1].state == "running"
    assert main(["search", "--resume", str(out / "stopped")]) == 0
    found = records_of(out / "stopped")
    assert decisions(found) == decisions(undisturbed)
    assert [record.number for record in found if record.attempts == 2] == hit
    assert sum(record.attempts for record in found) == len(found) + len(hit)


def test_ctrl_c_twice_stops_at_once_and_loses_nothing_and_before_nobody_can_resume_it_beside(
    out: Path, undisturbed: list[Record], start: Callable[[str], RunningSearch], capsys: pytest.CaptureFixture[str]
) -> None:
    with start("twice") as search:
        search.until("a trial in the middle", in_the_middle, hold=True)
        assert main(["search", "--resume", str(out / "twice")]) == 2
        assert "is being searched by another process" in capsys.readouterr().err
        search.interrupt()
        time.sleep(0.2)
        search.interrupt()
        assert search.end() == 130
        assert "Traceback" not in search.said
    stopped = [record for record in records_of(out / "twice") if record.state != "running"]
    assert decisions(stopped) == decisions([undisturbed[record.number] for record in stopped])


def trials_of(search: RunningSearch) -> list[psutil.Process]:
    """The processes of its own Ray that train; others may do so on this machine."""
    found = []
    for process in psutil.Process(search.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if re.search(TRIAL, " ".join(process.cmdline())):
                found.append(process)
    return found
