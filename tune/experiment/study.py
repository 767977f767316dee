"""The study on disk: all knowledge of a search, in Optuna's storage.

Everything else (Ray's experiment state, the rungs, the sampler's state, the report) is made from the study. A search
whose driver was killed therefore goes on from here. There is one writer: the driver of the search.
"""

import itertools
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar
from uuid import uuid4

from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces import InputError, Value
from trainables.storage.synced_folder import STORAGE_TIMEOUT_S, patiently
from tune.experiment.optuna_private import BaseStorage, RDBStorage, cached
from tune.experiment.search_lock import Taken
from tune.experiment.study_storage import open_storage, refused
from tune.experiment.trial_record import Heard, State, TrialRecord

T = TypeVar("T")

HEARD = "heard"
"""The key of the one entry kept with an epoch's figures that is not a figure."""

OPTUNA_STATES: dict[State, TrialState] = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
STATE_OF = {optuna_state: state for state, optuna_state in OPTUNA_STATES.items()}

logger = logging.getLogger("ray.toprung")  # a child of Ray's logger, which writes the driver's log


class SearchStudy:
    """An Optuna study whose trials carry recipe, configuration and the figures of every epoch.

    Whoever opens it must close it. If the server is gone, calls that read or write retry for a while and then raise
    InputError. Later calls raise it at once.

    Attributes:
        process: the number of the search's process that writes, or wrote last; from 1.
        writer: the unique name of this process; two processes that do not see each other may take the same number.
        gone: the error raised when the storage stayed out of reach; None until then.
        patience: seconds for which a call retries while the server is gone.
        taken: returns an error once another process has taken over the search; it is then raised instead of a write.
        records: all trials, by number; read from the storage only once, because nobody else writes to it.
    """

    def __init__(self, storage: BaseStorage, name: str, taken: Taken = lambda: None) -> None:
        self._storage = storage
        self._id = storage.get_study_id_from_name(name)
        self.records = [_record(trial) for trial in storage.get_all_trials(self._id, deepcopy=False)]
        attrs = storage.get_study_user_attrs(self._id)
        self.process, self.writer = int(attrs.get("process", 1)), str(attrs.get("writer", ""))
        self._ids: dict[int, int] = {}
        self.patience = STORAGE_TIMEOUT_S
        self.gone: InputError | None = None
        self.taken = taken

    @classmethod
    def create(cls, url: str, name: str, *, maximize: bool, taken: Taken = lambda: None) -> "SearchStudy":
        """Create a study called `name`; `taken` as among the attributes.

        Raises:
            InputError: the storage has a study of this name, or cannot be used.
        """
        storage = open_storage(url)
        try:
            made = storage.create_new_study([StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE], name)
            storage.set_study_user_attr(made, "identity", uuid4().hex[:12])
            return cls(storage, name, taken)
        except DuplicatedStudyError:
            storage.engine.dispose()
            raise InputError(f"storage {url} has a study {name!r} already; choose another --name") from None
        except OSError as error:
            raise refused(url, error) from None

    @classmethod
    def load(cls, url: str, name: str, *, taken: Taken = lambda: None) -> "SearchStudy":
        """Load the study called `name`; `taken` as among the attributes.

        Raises:
            InputError: there is no such study, or the storage cannot be used.
        """
        storage = open_storage(url)
        try:
            return cls(storage, name, taken)
        except KeyError:
            storage.engine.dispose()
            raise InputError(f"storage {url} has no study {name!r}; it was moved or deleted") from None
        except OSError as error:
            raise refused(url, error) from None

    @property
    def begun(self) -> int:
        """The number of trials that count as begun of those that were asked for."""
        return sum(record.counts for record in self.records)

    def delete(self) -> None:
        """Delete the study from the storage, which others may share."""
        self._storage.delete_study(self._id)

    def begin_process(self) -> None:
        """Note that another process continues the search."""
        self.process, self.writer = self.process + 1, uuid4().hex
        self._set("process", self.process)
        self._set("writer", self.writer)

    def attempt(self, number: int) -> str:
        """Return the name of a trial's attempt, unique even if a process did not know of all earlier attempts."""
        return f"{self.process:02d}.{self.records[number].attempts:02d}"

    def close(self) -> None:
        """Release the storage. SQLite then leaves a single file."""
        self._storage.remove_session()
        if isinstance(self._storage, RDBStorage):
            self._storage.engine.dispose()

    @property
    def seconds(self) -> float:
        """The seconds that the search has run in all its processes, as last noted."""
        return self._get("seconds")

    @property
    def spared_seconds(self) -> float:
        """The part of `seconds` that does not count against a time budget."""
        return self._get("spared_seconds")

    def note_seconds(self, seconds: float, spared: float = 0.0) -> None:
        """Note the seconds that the search has run, and those spared by the time budget."""
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
    ) -> TrialRecord:
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

    def again(self, number: int) -> TrialRecord:
        """Count another attempt at a running trial."""
        record = self.records[number]
        record.attempts += 1
        self._set_of(self._trial(number), "attempts", record.attempts)
        return record

    def report(
        self, number: int, epoch: int, figures: Mapping[str, float], best: float, heard: Heard | None = None
    ) -> None:
        """Store an epoch's figures and the best value so far; ignore an epoch that is stored already."""
        record, trial = self.records[number], self._trial(number)
        if epoch in record.values:
            return
        self._set_of(trial, f"epoch {epoch}", {**figures, **({HEARD: [heard.at, heard.worker]} if heard else {})})
        self._patiently(partial(self._storage.set_trial_intermediate_value, trial, epoch, best))
        record.epochs.append({"epoch": epoch, **figures})
        record.values[epoch] = best
        if heard:
            record.heard[epoch] = heard

    def end(
        self, number: int, state: Literal["complete", "pruned", "failed"], note: str = "", *, diverged: bool = False
    ) -> TrialRecord:
        """Close a trial as failed, or as complete or pruned with the best value so far, as in Optuna."""
        record, trial = self.records[number], self._trial(number)
        if note:
            self._set_of(trial, "note", note)
        if diverged:
            self._set_of(trial, "diverged", True)
        values = None if state == "failed" or record.value is None else [record.value]

        def close() -> None:
            self._storage.set_trial_state_values(trial, OPTUNA_STATES[state], values)

        def close_unless_closed() -> None:
            with suppress(UpdateFinishedTrialError):
                close()

        self._patiently(close, again=close_unless_closed)
        record.state, record.note, record.diverged = state, note, diverged
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
        """Call `do`, and retry while the storage is gone.

        A retry calls `again` where one is given, since `do` may have succeeded and must then not be repeated.
        """
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
            return patiently(attempt, self.patience)
        except OSError as error:
            self.patience = 0.0
            self.gone = InputError(
                f"the storage of the study is gone: {error}; what it has is kept: go on by --resume when it is back"
            )
            raise self.gone from error


class WatchedStudy:
    """A study that another process writes, for repeated reading. Trials that ended are read only once.

    Whoever opens it must close it.
    """

    def __init__(self, url: str, name: str) -> None:
        self._engine = open_storage(url)
        self._storage = cached(self._engine)
        self._id = self._storage.get_study_id_from_name(name)

    @property
    def identity(self) -> str:
        """The id that distinguishes the search from all others, even from those of the same name."""
        return str(self._storage.get_study_user_attrs(self._id)["identity"])

    def records(self) -> list[TrialRecord]:
        """Return all trials as they are now, by number."""
        return [_record(trial) for trial in self._storage.get_all_trials(self._id, deepcopy=False)]

    def close(self) -> None:
        """Release the storage."""
        self._storage.remove_session()
        self._engine.engine.dispose()


def _record(trial: FrozenTrial) -> TrialRecord:
    attrs, values = trial.user_attrs, trial.intermediate_values
    kept = {epoch: dict(attrs[f"epoch {epoch}"]) for epoch in sorted(values)}
    heard = {epoch: Heard(*figures.pop(HEARD)) for epoch, figures in kept.items() if HEARD in figures}
    return TrialRecord(
        number=trial.number,
        recipe=attrs["recipe"],
        config=attrs["config"],
        seed=attrs["seed"],
        params=trial.params,
        distributions=trial.distributions,
        state=STATE_OF[trial.state],
        epochs=[{"epoch": epoch, **figures} for epoch, figures in kept.items()],
        heard=heard,
        values=dict(sorted(values.items())),
        attempts=attrs["attempts"],
        note=attrs.get("note", ""),
        diverged=attrs.get("diverged", attrs.get("note", "").startswith("diverged in epoch ")),  # before 0.2: by note
    )
