"""The objective of a search: its metric and the direction in which that metric is better."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

ObjectiveMetric = Literal["accuracy", "macro_f1", "weighted_f1", "loss"]
"""The metrics that a search may optimize."""


@dataclass(frozen=True)
class Objective:
    """A metric that is optimized on val.

    Attributes:
        metric: its name among the figures of an epoch.
        maximize: True if a larger value is better.
    """

    metric: str
    maximize: bool

    @classmethod
    def of(cls, metric: str) -> "Objective":
        """Return the objective of a metric that is defined in `trainables.training.metrics`."""
        from trainables.training.metrics import METRICS  # late: help cannot wait for numpy

        return cls(metric, maximize=next(each.larger_is_better for each in METRICS if each.name == metric))

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """The direction as Optuna and W&B call it."""
        return "maximize" if self.maximize else "minimize"

    def cost(self, value: float | None) -> float:
        """Return the value as a cost: smaller is better, and None, NaN and infinity are worst."""
        if value is None or not math.isfinite(value):
            return math.inf
        return -value if self.maximize else value

    def is_better(self, value: float, than: float | None) -> bool:
        """Return True if `value` is strictly better; any finite value is better than None."""
        return self.cost(value) < self.cost(than)

    def best(self, values: Iterable[float]) -> float:
        """Return the best of one or more values.

        Raises:
            ValueError: there are no values.
        """
        return min(values, key=self.cost)

    def best_so_far(self, values: Iterable[float]) -> list[float]:
        """Return the best of the values up to each; rungs compare these values of a trial's epochs."""

        def better(best: float, value: float) -> float:
            return value if self.is_better(value, than=best) else best

        return list(accumulate(values, better))
