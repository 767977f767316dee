"""The study on disk: what a search knows, in Optuna's storage.

Everything else (Ray's experiment state, the rungs, the sampler's view, the report) is made from it, so that a
search whose driver was killed goes on from here. There is one writer: the driver of the search.
"""

import itertools
import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar
from uuid import uuid4

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from search_spaces import InputError, Value
from trainables.storage.synced_folder import PATIENCE, patiently
from tune.experiment.search_lock import Taken
from tune.experiment.trial_record import Heard, Record, State

T = TypeVar("T")

SERVER = {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": 30_000}
"""Seconds, seconds and milliseconds after which libpq gives up a PostgreSQL that has fallen silent; else hours."""

OF_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
"""Errors of SQLite that are of its disk."""

HEARD = "heard"
"""What is kept with the figures of an epoch, and is none of them."""

OPTUNA_STATES: dict[State, TrialState] = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
STATES = {optuna_state: state for state, optuna_state in OPTUNA_STATES.items()}

optuna.logging.set_verbosity(optuna.logging.WARNING)
logger = logging.getLogger("ray.toprung")  # the driver's log is Ray's


class SearchStudy:
    """An Optuna study whose trials carry recipe, configuration and the figures of every epoch.

    Whoever opened it closes it. A server that is gone is tried again for two minutes; all that writes or asks raises
    InputError where it stays away, and then at once.

    Attributes:
        maximize: whether a larger value is better.
        process: which process of the search it is that writes, or wrote last; from 1.
        writer: what this process alone is called, as two may take each other's number who do not see each other.
        gone: the error with which the storage stayed away, once it did.
        taken: tells whether another process has gone on with the search: nothing is written then, and its error raised.
        records: all trials, by number; read from the storage once, as nobody else writes to it.
    """

    def __init__(self, storage: BaseStorage, name: str) -> None:
        self._storage = storage
        self._id = storage.get_study_id_from_name(name)
        self.maximize = storage.get_study_directions(self._id) == [StudyDirection.MAXIMIZE]
        self.records = [_record(trial) for trial in storage.get_all_trials(self._id, deepcopy=False)]
        attrs = storage.get_study_user_attrs(self._id)
        self.process, self.writer = int(attrs.get("process", 1)), str(attrs.get("writer", ""))
        self._ids: dict[int, int] = {}
        self._patience = PATIENCE
        self.gone: InputError | None = None
        self.taken: Taken = lambda: None

    @classmethod
    def create(cls, url: str, name: str, *, maximize: bool) -> "SearchStudy":
        """A new study called `name`.

        Raises:
            InputError: the storage has a study of this name, or cannot be used.
        """
        storage = _storage(url)
        try:
            made = storage.create_new_study([StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE], name)
            storage.set_study_user_attr(made, "identity", uuid4().hex[:12])
            return cls(storage, name)
        except DuplicatedStudyError:
            storage.engine.dispose()
            raise InputError(f"storage {url} has a study {name!r} already; choose another --name") from None
        except OSError as error:
            raise _refused(url, error) from None

    @classmethod
    def load(cls, url: str, name: str) -> "SearchStudy":
        """The study called `name`.

        Raises:
            InputError: there is none, or the storage cannot be used.
        """
        storage = _storage(url)
        try:
            return cls(storage, name)
        except KeyError:
            storage.engine.dispose()
            raise InputError(f"storage {url} has no study {name!r}; it was moved or deleted") from None
        except OSError as error:
            raise _refused(url, error) from None

    def delete(self) -> None:
        """Take it out of the storage, which others may share."""
        self._storage.delete_study(self._id)

    def begin_process(self) -> None:
        """Note that another process goes on with the search."""
        self.process, self.writer = self.process + 1, uuid4().hex
        self._set("process", self.process)
        self._set("writer", self.writer)

    def attempt(self, number: int) -> str:
        """What an attempt at a trial is called, as no other is, though a process did not know of all before it."""
        return f"{self.process:02d}.{self.records[number].attempts:02d}"

    def close(self) -> None:
        """Let go of the storage: SQLite then leaves a single file."""
        self._storage.remove_session()
        if isinstance(self._storage, RDBStorage):
            self._storage.engine.dispose()

    @property
    def seconds(self) -> float:
        """How long the search has run, in all its processes, as far as it was noted."""
        return self._get("seconds")

    @property
    def spared_seconds(self) -> float:
        """Of `seconds`, those that no time budget is for."""
        return self._get("spared_seconds")

    def note_seconds(self, seconds: float, spared: float = 0.0) -> None:
        """Note how long the search has run."""
        self._set("seconds", seconds)
        self._set("spared_seconds", spared)

    def begin(
        self,
        recipe: str,
        config: Mapping[str, Value],
        *,
        seed: int,
        params: dict[str, Any],
        distributions: dict[str, BaseDistribution],
    ) -> Record:
        """Add a running trial, in one transaction."""
        attrs = {"recipe": recipe, "config": dict(config), "seed": seed, "attempts": 1}
        trial = create_trial(state=TrialState.RUNNING, params=params, distributions=distributions, user_attrs=attrs)
        trial.number = len(self.records)

        def make() -> int:
            return self._storage.create_new_trial(self._id, trial)

        def make_unless_made() -> int:
            try:
                return self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)
            except KeyError:
                return make()

        trial_id = self._patiently(make, again=make_unless_made)
        assert trial_id == self._trial(trial.number), "another process writes to this study"
        self.records.append(_record(trial))
        return self.records[-1]

    def again(self, number: int) -> Record:
        """Count another attempt at a running trial."""
        record = self.records[number]
        record.attempts += 1
        self._set_of(self._trial(number), "attempts", record.attempts)
        return record

    def report(
        self, number: int, epoch: int, figures: Mapping[str, float], best: float, heard: Heard | None = None
    ) -> None:
        """Keep an epoch's figures and the best value so far; an epoch that is known is not counted twice."""
        record, trial = self.records[number], self._trial(number)
        if epoch in record.values:
            return
        self._set_of(trial, f"epoch {epoch}", {**figures, **({HEARD: [heard.at, heard.worker]} if heard else {})})
        self._patiently(partial(self._storage.set_trial_intermediate_value, trial, epoch, best))
        record.epochs.append({"epoch": epoch, **figures})
        record.values[epoch] = best
        if heard:
            record.heard[epoch] = heard

    def end(self, number: int, state: Literal["complete", "pruned", "failed"], note: str = "") -> Record:
        """Close a trial; it is complete or pruned with the best value so far, as Optuna has it, or failed."""
        record, trial = self.records[number], self._trial(number)
        if note:
            self._set_of(trial, "note", note)
        values = None if state == "failed" or record.value is None else [record.value]

        def close() -> None:
            self._storage.set_trial_state_values(trial, OPTUNA_STATES[state], values)

        def close_unless_closed() -> None:
            with suppress(UpdateFinishedTrialError):
                close()

        self._patiently(close, again=close_unless_closed)
        record.state, record.note = state, note
        return record

    def _trial(self, number: int) -> int:
        if number not in self._ids:
            find = self._storage.get_trial_id_from_study_id_trial_number
            self._ids[number] = self._patiently(partial(find, self._id, number))
        return self._ids[number]

    def _get(self, key: str) -> float:
        return float(self._patiently(partial(self._storage.get_study_user_attrs, self._id)).get(key, 0.0))

    def _set(self, key: str, value: float | str) -> None:
        self._patiently(partial(self._storage.set_study_user_attr, self._id, key, value))

    def _set_of(self, trial: int, key: str, value: Any) -> None:
        self._patiently(partial(self._storage.set_trial_user_attr, trial, key, value))

    def _patiently(self, do: Callable[[], T], again: Callable[[], T] | None = None) -> T:
        """Do something, and do it again where the storage is gone; `again` where that would not do, if it was done."""
        if taken := self.taken():
            raise taken
        attempts = itertools.count()

        def attempt() -> T:
            try:
                return (again or do)() if next(attempts) else do()
            except OSError as error:
                logger.warning("the storage of the study is gone: %s; it is tried again", error)
                raise

        try:
            return patiently(attempt, self._patience)
        except OSError as error:
            self._patience = 0.0
            self.gone = InputError(
                f"the storage of the study is gone: {error}; what it has is kept: go on by --resume when it is back"
            )
            raise self.gone from error


class WatchedStudy:
    """A study that another process writes, to be read again and again: trials that ended are read once.

    Whoever opened it closes it.
    """

    def __init__(self, url: str, name: str) -> None:
        self._engine = _storage(url)
        self._storage = get_storage(self._engine)
        self._id = self._storage.get_study_id_from_name(name)

    @property
    def identity(self) -> str:
        """What tells the search from all others, also those of its name."""
        return str(self._storage.get_study_user_attrs(self._id)["identity"])

    def records(self) -> list[Record]:
        """All trials as they are now, by number."""
        return [_record(trial) for trial in self._storage.get_all_trials(self._id, deepcopy=False)]

    def close(self) -> None:
        """Let go of the storage."""
        self._storage.remove_session()
        self._engine.engine.dispose()


def _storage(url: str) -> RDBStorage:
    try:
        options = _options(url)
        if options:
            _make_tables(url, options)
        storage = RDBStorage(url, options)
        if storage.engine.dialect.name == "sqlite":
            event.listen(storage.engine, "connect", _write_ahead)
            storage.engine.dispose()  # of the connection that made the tables
        event.listen(storage.engine, "handle_error", _as_gone)
        return storage
    except Exception as error:  # SQLAlchemy's, a driver's or Optuna's, by the kind of storage
        raise _refused(url, error) from None


def _options(url: str) -> dict[str, Any]:
    """What SQLAlchemy is to do about a PostgreSQL that was restarted, or fell silent; nothing of other storages."""
    parsed = make_url(url)
    if not parsed.drivername.startswith("postgresql"):
        return {}
    return {"pool_pre_ping": True, "connect_args": {k: v for k, v in SERVER.items() if k not in parsed.query}}


def _make_tables(url: str, options: Mapping[str, Any]) -> None:
    """Have Optuna make its tables, in three steps, at each of which another search that is as new may be first."""
    for left in (3, 2, 1, 0):
        try:
            RDBStorage(url, {**options, "poolclass": NullPool})  # one that fails could not be told to close any
            return
        except (IntegrityError, ProgrammingError):
            if not left:
                raise


def _refused(url: str, error: Exception) -> InputError:
    cause: BaseException = error
    if isinstance(error, StorageInternalError) and error.__cause__:
        cause = error.__cause__
    scheme = url.partition(":")[0]
    if isinstance(cause, ImportError) and scheme == "postgresql":
        return InputError(f"--storage {url}: needs psycopg: pip install 'toprung[postgres]'")
    way = "give an Optuna storage URL, such as postgresql://USER@HOST/DATABASE"
    if isinstance(cause, DBAPIError | OSError) and not scheme.startswith("sqlite"):
        way = "is the server up, and may you write there? a password comes from PGPASSWORD or ~/.pgpass"
    return InputError(f"--storage {url}: {_reason(cause)}; {way}")


def _reason(error: BaseException) -> str:
    """The first line of what a driver says."""
    text = str(error.orig if isinstance(error, DBAPIError) else error).strip() or type(error).__name__
    return text.splitlines()[0]


def _as_gone(context: ExceptionContext) -> None:
    """Make of a server that is gone, or a disk that is full, what a storage that fails is elsewhere, an OSError.

    Optuna lets it pass. Of SQLAlchemy's own error it would begin a trial again, though the first one may be there.
    """
    failed = context.sqlalchemy_exception
    to_connect = context.connection is None and isinstance(failed, OperationalError)
    code = getattr(context.original_exception, "sqlite_errorcode", 0) & 0xFF  # the rest says more of the same
    if failed and not context.is_pre_ping and (context.is_disconnect or to_connect or code in OF_DISK):
        raise ConnectionError(_reason(failed))


def _write_ahead(connection: sqlite3.Connection, _: object) -> None:
    """Who reads the study, a report or a dashboard, never locks out the search, and a commit takes half the time.

    A killed process loses nothing; a power cut may lose the last commits, but leaves the file whole.
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _record(trial: FrozenTrial) -> Record:
    attrs, values = trial.user_attrs, trial.intermediate_values
    kept = {epoch: dict(attrs[f"epoch {epoch}"]) for epoch in sorted(values)}
    heard = {epoch: Heard(*figures.pop(HEARD)) for epoch, figures in kept.items() if HEARD in figures}
    return Record(
        number=trial.number,
        recipe=attrs["recipe"],
        config=attrs["config"],
        seed=attrs["seed"],
        params=trial.params,
        distributions=trial.distributions,
        state=STATES[trial.state],
        epochs=[{"epoch": epoch, **figures} for epoch, figures in kept.items()],
        heard=heard,
        values=dict(sorted(values.items())),
        attempts=attrs["attempts"],
        note=attrs.get("note", ""),
    )
