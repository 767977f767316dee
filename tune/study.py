"""The study on disk: what a search knows, in Optuna's storage.

Everything else (Ray's experiment state, the rungs, the sampler's view, the report) is made from it, so that a
search whose driver was killed goes on from here. There is one writer: the driver of the search.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search_spaces import InputError, Value

State = Literal["running", "complete", "pruned", "failed"]
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


DIVERGED = "diverged"


@dataclass(kw_only=True)
class Record:
    """One trial as the study knows it.

    Attributes:
        number: the study's trial number, from 0.
        recipe, config: what was trained; the active fields only, clamped to the data.
        seed: of the training.
        params, distributions: what the sampler drew, as Optuna keeps it.
        state: running, complete, pruned (stopped early) or failed.
        epochs: every epoch's figures, in order.
        values: the best of the search's metric so far, by epoch: what rungs compare.
        attempts: how often it was begun; more than once after a failure of the machine or a resumed search.
        note: why it failed or was stopped.
    """

    number: int
    recipe: str
    config: dict[str, Value]
    seed: int
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    state: State = "running"
    epochs: list[dict[str, float]] = field(default_factory=list)
    values: dict[int, float] = field(default_factory=dict)
    attempts: int = 1
    note: str = ""

    @property
    def value(self) -> float | None:
        """The best of the metric; None before the first epoch."""
        return self.values[max(self.values)] if self.values else None

    @property
    def counts(self) -> bool:
        """Whether it is one of the trials that were asked for; not if it was ended before its first epoch."""
        return self.state != "pruned" or bool(self.epochs)

    @property
    def diverged(self) -> bool:
        """Whether it failed because its loss was no longer a number."""
        return self.state == "failed" and self.note.startswith(DIVERGED)

    @property
    def seconds(self) -> float:
        """Time spent in its epochs."""
        return sum(epoch["seconds"] for epoch in self.epochs)


class SearchStudy:
    """An Optuna study whose trials carry recipe, configuration and the figures of every epoch.

    Attributes:
        records: all trials, by number; read from the storage once, as nobody else writes to it.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._trials: dict[int, Trial] = {}
        self.records = [_record(trial) for trial in study.get_trials(deepcopy=False)]

    @classmethod
    def create(cls, url: str, name: str, *, maximize: bool) -> "SearchStudy":
        """A new study called `name`.

        Raises:
            InputError: the storage has a study of this name, or cannot be used.
        """
        direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
        try:
            return cls(optuna.create_study(study_name=name, storage=_storage(url), direction=direction))
        except DuplicatedStudyError:
            raise InputError(f"storage {url} has a study {name!r} already; choose another --name") from None

    @classmethod
    def load(cls, url: str, name: str) -> "SearchStudy":
        """The study called `name`.

        Raises:
            InputError: there is none, or the storage cannot be used.
        """
        try:
            return cls(optuna.load_study(study_name=name, storage=_storage(url)))
        except KeyError:
            raise InputError(f"storage {url} has no study {name!r}; it was moved or deleted") from None

    @property
    def maximize(self) -> bool:
        """Whether a larger value is better."""
        return self._study.direction == StudyDirection.MAXIMIZE

    @property
    def seconds(self) -> float:
        """How long the search has run, in all its processes, as far as it was noted."""
        return float(self._study.user_attrs.get("seconds", 0.0))

    def note_seconds(self, seconds: float) -> None:
        """Note how long the search has run."""
        self._study.set_user_attr("seconds", seconds)

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
        self._study.add_trial(
            create_trial(state=TrialState.RUNNING, params=params, distributions=distributions, user_attrs=attrs)
        )
        self.records.append(_record(self._study.get_trials(deepcopy=False)[len(self.records)]))
        return self.records[-1]

    def again(self, number: int) -> Record:
        """Count another attempt at a running trial."""
        record = self.records[number]
        record.attempts += 1
        self._trial(number).set_user_attr("attempts", record.attempts)
        return record

    def report(self, number: int, epoch: int, figures: Mapping[str, float], best: float) -> None:
        """Keep an epoch's figures and the best value so far; an epoch that is known is not counted twice."""
        record, trial = self.records[number], self._trial(number)
        if epoch in record.values:
            return
        trial.set_user_attr(f"epoch {epoch}", dict(figures))
        trial.report(best, epoch)
        record.epochs.append({"epoch": epoch, **figures})
        record.values[epoch] = best

    def end(self, number: int, state: Literal["complete", "pruned", "failed"], note: str = "") -> Record:
        """Close a trial: complete with its best value, pruned with the last one reported, or failed."""
        record = self.records[number]
        if note:
            self._trial(number).set_user_attr("note", note)
        if state == "complete":
            self._study.tell(number, record.value)
        else:
            self._study.tell(number, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL)
        self._trials.pop(number, None)
        record.state, record.note = state, note
        return record

    def _trial(self, number: int) -> Trial:
        if number not in self._trials:
            # the only handle by which Optuna lets a process go on with a trial that it did not ask for itself
            frozen = self._study.get_trials(deepcopy=False)[number]
            self._trials[number] = Trial(self._study, frozen._trial_id)
        return self._trials[number]


def _storage(url: str) -> optuna.storages.BaseStorage:
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # SQLAlchemy's, a driver's or Optuna's, by the kind of storage
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--storage {url}: {reason}; give an Optuna storage URL") from None


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
