"""The study backup of a search on a cluster: the head writes on its own disk and copies to a folder all nodes see.

SQLite needs a disk of its own machine, and a head can be lost with its disk. So there is one writer and one study
backup. The backup is whole at any time, and another head can go on from it.
"""

import hashlib
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from search_spaces import InputError
from trainables.storage.synced_folder import SyncedFolder, patiently
from tune.experiment.experiment import SQLITE, STUDY, Experiment
from tune.experiment.study import SearchStudy
from tune.settings.groups import HERE

logger = logging.getLogger("ray.toprung")  # a child of Ray's logger, which writes the driver's log


@dataclass(frozen=True)
class StudyBackup:
    """A study's file on this machine, and its study backup.

    Attributes:
        file: the file that the study is written to.
        place: the folder of the backup, which other nodes see directly or through a copy.
        look_every_s: seconds between checks for trials that have ended.
        copy_every_s: seconds after which the study is copied even if no trial has ended.
    """

    file: Path
    place: SyncedFolder
    look_every_s: float = 1.0
    copy_every_s: float = 30.0

    @classmethod
    def of(cls, experiment: Experiment) -> "StudyBackup | None":
        """Return an experiment's study backup; None in a single machine's folder, or if a person named a storage."""
        settings = experiment.settings
        if settings.storage or (settings.address == HERE and experiment.url is None):
            return None
        digest = hashlib.sha256(str(experiment).encode()).hexdigest()[:16]
        file = Path(settings.cache) / "studies" / f"{settings.name}-{digest}.db"
        file.parent.mkdir(parents=True, exist_ok=True)
        return cls(file, replace(experiment.place, patience=0.0))

    @property
    def copied_to(self) -> Path:
        """The backup file that others see, or from which the copy that they see is made."""
        return self.place.folder / STUDY

    @property
    def url(self) -> str:
        """The URL of the storage that is written to."""
        return f"{SQLITE}{self.file}"

    def clear(self) -> None:
        """Delete the study that an experiment of the same place left on this machine."""
        for suffix in ("", "-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)

    def fetch(self, name: str) -> None:
        """Bring the backup here, unless the file here is from a later process, or from the same one and thus as recent.

        Raises:
            OSError: the backup stays out of reach.
        """
        patiently(partial(self.place.fetch, STUDY))
        if self.file.exists():
            here, copied = _writer(self.file, name), _writer(self.copied_to, name)
            if here == copied or here[0] > copied[0]:
                return
        self.clear()
        copy_database(self.copied_to, self.file)

    def copy(self) -> None:
        """Copy the study, whole or not at all.

        Raises:
            OSError, sqlite3.Error: the study cannot be read or its copy not written; the last copy is still there.
        """
        local = self.file.with_name(f".{self.file.name}.copy")
        draft = self.copied_to.with_name(f".{self.copied_to.name}.draft")
        try:
            copy_database(self.file, local)
            shutil.copyfile(local, draft)
            draft.replace(self.copied_to)
            self.place.push(STUDY)
        finally:
            local.unlink(missing_ok=True)


@contextmanager
def backed_up(backup: StudyBackup | None, study: SearchStudy, console: Console) -> Iterator[None]:
    """Back up a study whenever a trial has ended, and every `copy_every_s` seconds; retry if the storage is gone."""
    if backup is None:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_keep_copying, args=(backup, study, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(backup.copy_every_s)
        try:
            if not study.taken():
                backup.copy()
        except (OSError, sqlite3.Error) as error:
            console.print(
                f"warning: the study could not be copied to {backup.place}: {error}; it is in {backup.file} of "
                "this machine, from which --resume goes on",
                style="yellow",
            )


def _keep_copying(backup: StudyBackup, study: SearchStudy, done: threading.Event) -> None:
    ended, copied = -1, time.monotonic()
    while not done.wait(backup.look_every_s):
        now = sum(record.state != "running" for record in study.records)
        if study.taken():
            return
        if now == ended and time.monotonic() - copied < backup.copy_every_s - backup.look_every_s:
            continue
        try:
            backup.copy()
        except (OSError, sqlite3.Error) as error:
            logger.warning("the study could not be copied to %s: %s; it is tried again", backup.place, error)
        else:
            ended, copied = now, time.monotonic()


def _writer(file: Path, name: str) -> tuple[int, str]:
    """Return the process that wrote a study last: its number and its unique name."""
    with closing(SearchStudy.load(f"{SQLITE}{file}", name)) as study:
        return study.process, study.writer


@contextmanager
def looked_at(experiment: Experiment) -> Iterator[SearchStudy]:
    """Open the study of an experiment for reading, and leave no trace in its folder.

    Raises:
        InputError: there is no study, or its storage cannot be used.
    """
    url, name = experiment.storage, experiment.settings.name
    with TemporaryDirectory(prefix="toprung-") as folder:
        if url.startswith(SQLITE):
            file, copy = Path(url.removeprefix(SQLITE)), Path(folder) / STUDY
            try:
                copy_without_trace(file, copy)
            except (OSError, sqlite3.Error) as error:
                raise InputError(f"{experiment}: its study cannot be read: {error}") from None
            url = f"{SQLITE}{copy}"
        with closing(SearchStudy.load(url, name)) as study:
            yield study


def copy_without_trace(source: Path, target: Path) -> None:
    """Copy a database without leaving a trace in its folder."""
    if source.with_name(f"{source.name}-wal").exists():  # a search has it open, or was killed
        copy_database(source, target)
    else:  # copied as a file: even to read it, SQLite would leave two others beside it
        shutil.copyfile(source, target)


def copy_database(source: Path, target: Path) -> None:
    """Copy a database that may be written to at the same time, into a single file."""
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")
