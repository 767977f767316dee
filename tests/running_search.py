"""Searches as processes of their own, which are watched by their studies."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from search_spaces import InputError
from tune.experiment.experiment import Experiment
from tune.experiment.study import SearchStudy
from tune.experiment.study_backup import copy_database
from tune.experiment.trial_record import TrialRecord

RUN = [sys.executable, str(Path(__file__).parent.parent / "tune" / "run.py")]
"""What runs a search on this machine; its flags follow."""

WAIT = 600.0
"""Seconds after which a search hangs."""

TRIAL = "[r]ay::(Resource|Recipe)Tr"
"""What a process that trains is called, for `pgrep -f`, which does not find its own shell by it."""

UNREADABLE = (InputError, SQLAlchemyError, sqlite3.Error, FileNotFoundError)
"""What reading a study may raise while it or its folder is half made."""


class RunningSearch:
    """A search, or what runs it elsewhere, in a process group of its own, as a terminal starts it; killed at exit.

    Attributes:
        process: the first of the group.
    """

    def __init__(
        self, command: Sequence[str], records: Callable[[], list[TrialRecord]], env: Mapping[str, str] | None = None
    ) -> None:
        """Start it.

        Args:
            command: such as `RUN` with flags.
            records: reads its study, wherever it is; may raise `UNREADABLE`.
            env: its environment, if not this process's.
        """
        self._records = records
        self._folder = TemporaryDirectory(prefix="said-")  # files, as nobody reads a pipe meanwhile, and it is full
        output, errors = (Path(self._folder.name) / name for name in ("output", "errors"))
        self._files = output, errors
        with output.open("ab") as out, errors.open("ab") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True, env=env)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill all that is left of it."""
        self.kill()
        self._folder.cleanup()

    @property
    def output(self) -> str:
        """What it wrote so far to its standard output."""
        return self._files[0].read_text()

    @property
    def errors(self) -> str:
        """The same of its standard error."""
        return self._files[1].read_text()

    @property
    def said(self) -> str:
        """Both."""
        return self.output + self.errors

    def until(
        self, what: str, true: Callable[[list[TrialRecord]], bool], *, hold: bool = False, wait: float = WAIT
    ) -> list[TrialRecord]:
        """Wait until its study is as wanted, and return that.

        Args:
            what: is waited for, in words.
            true: whether it is there.
            hold: stop the first process then, until it is sent SIGCONT.
            wait: seconds at most.

        Raises:
            AssertionError: it has ended before, or hangs.
        """
        end = time.monotonic() + wait
        while True:
            assert self.process.poll() is None, f"ended without {what}: {self.said[-6000:]}"
            assert time.monotonic() < end, f"no {what} in {wait:g} s: {self.said[-6000:]}"
            found = self._look(true)
            if found is not None and hold:
                self.process.send_signal(signal.SIGSTOP)
                found = self._look(true)  # it may have gone on before it was stopped
                if found is None:
                    self.process.send_signal(signal.SIGCONT)
            if found is not None:
                return found
            time.sleep(0.1)

    def interrupt(self) -> None:
        """Send SIGINT to the whole group, as Ctrl-C in a terminal does; one that is held goes on with it."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.send_signal(signal.SIGCONT)

    def end(self, wait: float = WAIT) -> int:
        """Wait until it ends; returns its exit code.

        Raises:
            AssertionError: it hangs.
        """
        try:
            return self.process.wait(wait)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end in {wait:g} s: {self.said[-6000:]}") from None

    def kill(self) -> None:
        """Kill the whole group, whatever it does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _look(self, true: Callable[[list[TrialRecord]], bool]) -> list[TrialRecord] | None:
        """The study, where it can be read and is as wanted."""
        try:
            found = self._records()
        except UNREADABLE:
            return None
        return found if true(found) else None


def records_of(experiment: Path | str) -> list[TrialRecord]:
    """The trials of an experiment, in its folder or bucket.

    Raises:
        InputError: there is none, or not yet: who opened its study before would make its tables.
    """
    opened = Experiment.open(experiment)
    with closing(SearchStudy.load(opened.storage, opened.settings.name)) as study:
        return study.records


def records_in(file: Path, name: str) -> list[TrialRecord]:
    """The trials of a study in a file of SQLite's, from a copy: its writer is not disturbed by it.

    Raises:
        InputError: there is no such study in it.
        sqlite3.Error: there is no such file.
    """
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "study.db"
        copy_database(file, copy)
        with closing(SearchStudy.load(f"sqlite:///{copy}", name)) as study:
            return study.records


def decisions(records: list[TrialRecord]) -> list[tuple[object, ...]]:
    """What two searches have in common that decided the same: all but times and attempts."""
    return [(r.number, r.recipe, r.config, r.seed, r.state, r.values) for r in records]
