"""A trial as all code but the study sees it. The module is light to import, because every worker imports it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from search_spaces import InputError, Value
from trainables.training.metrics import EpochFigures

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

State = Literal["running", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class Heard:
    """The time when the driver heard of an epoch, in seconds since 1970 by its own clock, and the epoch's worker."""

    at: float
    worker: str


@dataclass(kw_only=True)
class TrialRecord:
    """One trial as the study knows it.

    Attributes:
        number: the study's trial number, from 0.
        recipe, config: the recipe and configuration that were trained; active fields only, clamped to the data.
        seed: the seed of the training.
        params, distributions: the sampler's draw, in Optuna's form.
        state: running, complete, pruned (stopped early) or failed.
        epochs: every epoch's figures, in order.
        values: the best-so-far of the search's metric, by epoch, which rungs compare.
        heard: time and worker of each epoch's report; missing in experiments from before these were noted.
        attempts: the number of times it was begun; more than one after a failure of the machine or a resumed search.
        note: why it failed or was stopped.
        diverged: True if it failed because its loss was no longer a number.
    """

    number: int
    recipe: str
    config: dict[str, Value]
    seed: int
    params: dict[str, Any]
    distributions: dict[str, "BaseDistribution"]
    state: State = "running"
    epochs: list[EpochFigures] = field(default_factory=list)
    values: dict[int, float] = field(default_factory=dict)
    heard: dict[int, Heard] = field(default_factory=dict)
    attempts: int = 1
    note: str = ""
    diverged: bool = False

    @property
    def value(self) -> float | None:
        """The best value of the metric; None before the first epoch."""
        return self.values[max(self.values)] if self.values else None

    @property
    def best_epoch(self) -> EpochFigures | None:
        """The figures of its best epoch, or of the first of equally good ones; None before the first epoch."""
        best = [epoch for epoch, value in self.values.items() if value == self.value]
        return next((figures for figures in self.epochs if best and figures["epoch"] == best[0]), None)

    @property
    def counts(self) -> bool:
        """True if it is one of the trials that were asked for; False if it was ended before its first epoch."""
        return self.state != "pruned" or bool(self.epochs)

    @property
    def seconds(self) -> float:
        """The seconds spent in its epochs."""
        return sum(epoch["seconds"] for epoch in self.epochs)


def record_of(records: list[TrialRecord], number: int) -> TrialRecord:
    """Return the trial with this number.

    Raises:
        InputError: there is no such trial.
    """
    if not 0 <= number < len(records):
        raise InputError(f"--trial {number}: the experiment has trials 0 to {len(records) - 1}")
    return records[number]
