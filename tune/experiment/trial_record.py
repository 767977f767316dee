"""A trial as everything but the study sees it; light to import, as every worker does it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from search_spaces import InputError, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

State = Literal["running", "complete", "pruned", "failed"]
DIVERGED = "diverged"


@dataclass(frozen=True)
class Heard:
    """When the driver heard of an epoch, in seconds since 1970 by its own clock, and of which worker."""

    at: float
    worker: str


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
        heard: of each epoch; not of those of experiments from before it was noted.
        attempts: how often it was begun; more than once after a failure of the machine or a resumed search.
        note: why it failed or was stopped.
    """

    number: int
    recipe: str
    config: dict[str, Value]
    seed: int
    params: dict[str, Any]
    distributions: dict[str, "BaseDistribution"]
    state: State = "running"
    epochs: list[dict[str, float]] = field(default_factory=list)
    values: dict[int, float] = field(default_factory=dict)
    heard: dict[int, Heard] = field(default_factory=dict)
    attempts: int = 1
    note: str = ""

    @property
    def value(self) -> float | None:
        """The best of the metric; None before the first epoch."""
        return self.values[max(self.values)] if self.values else None

    @property
    def best_epoch(self) -> dict[str, float] | None:
        """The figures of its best epoch, the first of equals; None before the first epoch."""
        best = [epoch for epoch, value in self.values.items() if value == self.value]
        return next((figures for figures in self.epochs if best and figures["epoch"] == best[0]), None)

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


def record_of(records: list[Record], number: int) -> Record:
    """The trial of this number.

    Raises:
        InputError: there is none.
    """
    if not 0 <= number < len(records):
        raise InputError(f"--trial {number}: the experiment has trials 0 to {len(records) - 1}")
    return records[number]
