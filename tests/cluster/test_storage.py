"""Results on a disk that is full, read-only or gone for a while: the search waits, and its decisions stay the same."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.cluster.lab import require_lab
from tests.running_search import RUN, RunningSearch, decisions, records_of
from tune.cli import main
from tune.experiment.study import SearchStudy
from tune.experiment.trial_record import TrialRecord

MINUTE = 61.0
"""Seconds that a fault lasts, so that a limit on retries instead of time would fail."""


class Disk:
    """A file system of 400 MB at `place`, visible only in its own mount namespace."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs -o size=400m none {place} && echo && exec sleep 3600"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout
        self._holder.stdout.readline()
        self.seen = Path(f"/proc/{self._holder.pid}/root{place}")

    def close(self) -> None:
        """Release the file system."""
        self._holder.kill()
        self._holder.communicate()

    def command(self, *words: str) -> list[str]:
        """Return the command that runs `words` where the file system is visible."""
        return ["nsenter", "-t", str(self._holder.pid), "-m", *words]

    @contextmanager
    def full(self) -> Iterator[None]:
        """Fill the file system to the last byte."""
        filler = self.seen / "filler"
        with filler.open("wb") as file, suppress(OSError):
            while True:
                file.write(bytes(2**20))
                file.flush()
        yield
        filler.unlink()

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Replace the file system by an empty read-only one."""
        with self._hidden(f"mount -t tmpfs -o ro none {self.place}"):
            yield

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Make the file system read-only, except for files that are already open."""
        with self._hidden(f"mount --bind {self.place} {self.place} && mount -o remount,bind,ro {self.place}"):
            yield

    @contextmanager
    def _hidden(self, mount: str) -> Iterator[None]:
        subprocess.run(self.command("sh", "-c", mount), check=True)
        yield
        subprocess.run(self.command("umount", "--lazy", str(self.place)), check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    require_lab()
    (tmp_path / "disk").mkdir()
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.close()


@pytest.mark.timeout(900)
def test_a_storage_that_fails_for_a_while_changes_no_decision(disk: Disk, cache: Path, tmp_path: Path) -> None:
    search = [
        "--data", "digits", "--recipes", "mlp", "--set", "mlp.batch_size=32", "--trials", "9", "--max-epochs", "9",
        "--grace-period", "2", "--reduction-factor", "2", "--concurrent", "1", "--final-seeds", "1",
        "--cache", str(cache), "--name", "x",
    ]  # fmt: skip
    assert main(["search", *search, "--out", str(tmp_path)]) == 0
    with RunningSearch(disk.command(*RUN, *search, "--out", str(disk.place)), lambda: records_on(disk)) as running:
        for number, fault in enumerate((disk.full, disk.gone, disk.read_only)):
            running.until("trial after the last fault", at_least(2 * number + 2))
            with fault():
                time.sleep(MINUTE)
        assert running.end() == 0, running.said
        assert "Traceback" not in running.said
    found = records_on(disk)
    assert decisions(found) == decisions(records_of(tmp_path / "x"))
    assert all(record.attempts == 1 for record in found), "each trial has waited where it was"
    assert (disk.seen / "x" / "report" / "index.html").is_file()


def at_least(trials: int) -> Callable[[list[TrialRecord]], bool]:
    return lambda found: len(found) >= trials


def records_on(disk: Disk) -> list[TrialRecord]:
    """Read the trials from a copy, as SQLite cannot open files in another mount namespace.

    Raises:
        InputError: there is no study yet.
    """
    with TemporaryDirectory() as copy:
        for file in (disk.seen / "x").glob("study.db*"):
            shutil.copy(file, copy)
        with closing(SearchStudy.load(f"sqlite:///{copy}/study.db", "x")) as study:
            return study.records
