"""The study on disk: what a search knows, in Optuna's storage.

Everything else (Ray's experiment state, the rungs, the sampler's view, the report) is made from it, so that a
search whose driver was killed goes on from here. There is one writer: the driver of the search.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from search_spaces import InputError, Value
from tune.record import Record, State

OPTUNA_STATES: dict[State, TrialState] = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
STATES = {optuna_state: state for state, optuna_state in OPTUNA_STATES.items()}

optuna.logging.set_verbosity(optuna.logging.WARNING)


class SearchStudy:
    """An Optuna study whose trials carry recipe, configuration and the figures of every epoch.

    Whoever opened it closes it.

    Attributes:
        maximize: whether a larger value is better.
        process: which process of the search it is that writes, or wrote last; from 1.
        records: all trials, by number; read from the storage once, as nobody else writes to it.
    """

    def __init__(self, storage: BaseStorage, name: str) -> None:
        self._storage = storage
        self._id = storage.get_study_id_from_name(name)
        self.maximize = storage.get_study_directions(self._id) == [StudyDirection.MAXIMIZE]
        self.records = [_record(trial) for trial in storage.get_all_trials(self._id, deepcopy=False)]
        self.process = int(storage.get_study_user_attrs(self._id).get("process", 1))
        self._ids: dict[int, int] = {}

    @classmethod
    def create(cls, url: str, name: str, *, maximize: bool) -> "SearchStudy":
        """A new study called `name`.

        Raises:
            InputError: the storage has a study of this name, or cannot be used.
        """
        storage = _storage(url)
        try:
            storage.create_new_study([StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE], name)
        except DuplicatedStudyError:
            raise InputError(f"storage {url} has a study {name!r} already; choose another --name") from None
        return cls(storage, name)

    @classmethod
    def load(cls, url: str, name: str) -> "SearchStudy":
        """The study called `name`.

        Raises:
            InputError: there is none, or the storage cannot be used.
        """
        try:
            return cls(_storage(url), name)
        except KeyError:
            raise InputError(f"storage {url} has no study {name!r}; it was moved or deleted") from None

    def begin_process(self) -> None:
        """Note that another process goes on with the search."""
        self.process += 1
        self._storage.set_study_user_attr(self._id, "process", self.process)

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
        return float(self._storage.get_study_user_attrs(self._id).get("seconds", 0.0))

    @property
    def spared_seconds(self) -> float:
        """Of `seconds`, those that no time budget is for."""
        return float(self._storage.get_study_user_attrs(self._id).get("spared_seconds", 0.0))

    def note_seconds(self, seconds: float, spared: float = 0.0) -> None:
        """Note how long the search has run."""
        self._storage.set_study_user_attr(self._id, "seconds", seconds)
        self._storage.set_study_user_attr(self._id, "spared_seconds", spared)

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
        trial_id = self._storage.create_new_trial(self._id, trial)
        assert trial_id == self._trial(trial.number), "another process writes to this study"
        self.records.append(_record(trial))
        return self.records[-1]

    def again(self, number: int) -> Record:
        """Count another attempt at a running trial."""
        record = self.records[number]
        record.attempts += 1
        self._storage.set_trial_user_attr(self._trial(number), "attempts", record.attempts)
        return record

    def report(self, number: int, epoch: int, figures: Mapping[str, float], best: float) -> None:
        """Keep an epoch's figures and the best value so far; an epoch that is known is not counted twice."""
        record, trial = self.records[number], self._trial(number)
        if epoch in record.values:
            return
        self._storage.set_trial_user_attr(trial, f"epoch {epoch}", dict(figures))
        self._storage.set_trial_intermediate_value(trial, epoch, best)
        record.epochs.append({"epoch": epoch, **figures})
        record.values[epoch] = best

    def end(self, number: int, state: Literal["complete", "pruned", "failed"], note: str = "") -> Record:
        """Close a trial; it is complete or pruned with the best value so far, as Optuna has it, or failed."""
        record, trial = self.records[number], self._trial(number)
        if note:
            self._storage.set_trial_user_attr(trial, "note", note)
        value = None if state == "failed" else record.value
        self._storage.set_trial_state_values(trial, OPTUNA_STATES[state], None if value is None else [value])
        record.state, record.note = state, note
        return record

    def _trial(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        return self._ids[number]


def _storage(url: str) -> RDBStorage:
    try:
        storage = RDBStorage(url)
        if storage.engine.dialect.name == "sqlite":
            event.listen(storage.engine, "connect", _write_ahead)
            storage.engine.dispose()  # of the connection that made the tables
        return storage
    except Exception as error:  # SQLAlchemy's, a driver's or Optuna's, by the kind of storage
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--storage {url}: {reason}; give an Optuna storage URL") from None


def _write_ahead(connection: sqlite3.Connection, _: object) -> None:
    """Who reads the study, a report or a dashboard, never locks out the search, and a commit takes half the time.

    A killed process loses nothing; a power cut may lose the last commits, but leaves the file whole.
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _record(trial: FrozenTrial) -> Record:
    attrs, values = trial.user_attrs, trial.intermediate_values
    return Record(
        number=trial.number,
        recipe=attrs["recipe"],
        config=attrs["config"],
        seed=attrs["seed"],
        params=trial.params,
        distributions=trial.distributions,
        state=STATES[trial.state],
        epochs=[{"epoch": epoch, **attrs[f"epoch {epoch}"]} for epoch in sorted(values)],
        values=dict(sorted(values.items())),
        attempts=attrs["attempts"],
        note=attrs.get("note", ""),
    )
