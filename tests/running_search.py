"""Search processes, watched through their studies."""

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
"""Command of a search on this machine, without flags."""

WAIT = 600.0
"""Seconds after which a search counts as hung."""

TRIAL = "[r]ay::(Resource|Recipe)Tr"
"""Pattern of training processes for `pgrep -f`; the brackets keep it from matching its own shell."""

UNREADABLE = (InputError, SQLAlchemyError, sqlite3.Error, FileNotFoundError)
"""Errors of reading a study while it or its folder is incomplete."""


class RunningSearch:
    """A search in its own process group, as a terminal starts it; killed at exit.

    The process may also be a client that runs the search on another machine.

    Attributes:
        process: the first process of the group.
    """

    def __init__(
        self, command: Sequence[str], records: Callable[[], list[TrialRecord]], env: Mapping[str, str] | None = None
    ) -> None:
        """Start the search.

        Args:
            command: the command line, such as `RUN` with flags.
            records: a function that reads the trials of its study; may raise `UNREADABLE`.
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
        """Kill all remaining processes of the group."""
        self.kill()
        self._folder.cleanup()

    @property
    def output(self) -> str:
        """The standard output so far."""
        return self._files[0].read_text()

    @property
    def errors(self) -> str:
        """The standard error so far."""
        return self._files[1].read_text()

    @property
    def said(self) -> str:
        """The standard output and the standard error so far."""
        return self.output + self.errors

    def until(
        self, what: str, true: Callable[[list[TrialRecord]], bool], *, hold: bool = False, wait: float = WAIT
    ) -> list[TrialRecord]:
        """Wait until the study meets a condition, and return its trials.

        Args:
            what: the condition in words.
            true: the condition.
            hold: then stop the first process until it receives SIGCONT.
            wait: the timeout in seconds.

        Raises:
            AssertionError: the search has ended before, or hangs.
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
        """Send SIGINT to the whole group, as Ctrl-C in a terminal does, and let a held process continue."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.send_signal(signal.SIGCONT)

    def end(self, wait: float = WAIT) -> int:
        """Wait until the search ends; return its exit code.

        Raises:
            AssertionError: the search hangs.
        """
        try:
            return self.process.wait(wait)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end in {wait:g} s: {self.said[-6000:]}") from None

    def kill(self) -> None:
        """Kill the whole group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _look(self, true: Callable[[list[TrialRecord]], bool]) -> list[TrialRecord] | None:
        """Return the trials if the study can be read and meets the condition."""
        try:
            found = self._records()
        except UNREADABLE:
            return None
        return found if true(found) else None


def records_of(experiment: Path | str) -> list[TrialRecord]:
    """Return the trials of an experiment in a folder or bucket.

    Raises:
        InputError: there is no study yet; opening one too early would create its tables.
    """
    opened = Experiment.open(experiment)
    with closing(SearchStudy.load(opened.storage, opened.settings.name)) as study:
        return study.records


def records_in(file: Path, name: str) -> list[TrialRecord]:
    """Return the trials of a study in an SQLite file, from a copy, so that its writer is not disturbed.

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
    """Return the decisions of a search: everything in its trials except times and retries."""
    return [(r.number, r.recipe, r.config, r.seed, r.state, r.values) for r in records]
