"""Tests of one recipe's accuracy against another's on the same test images, beyond chance."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tune.experiment.report_figures import Comparison, Interval
from tune.finals.intervals import LEVEL, Models, percentiles, resamples, widened


@dataclass(frozen=True)
class PairedComparison:
    """The difference in accuracy between one recipe's models and another's.

    Attributes:
        mean: the difference of the mean accuracies over seeds.
        draws: bootstrap draws of the difference (draws,).
        p: the probability of at least such a difference, in either direction, if there were none.
        level: of the interval.
    """

    mean: float
    draws: NDArray[np.float64]
    p: float
    level: float = LEVEL

    @property
    def difference(self) -> Interval:
        """The difference with its interval, which includes 0 if p, from another test, is not significant."""
        found = percentiles(self.mean, self.draws, self.level)
        if self.p < 1 - LEVEL:
            return found
        return Interval(found.mean, min(found.low, 0.0), max(found.high, 0.0))

    def reported(self) -> Comparison:
        """Return the comparison as a report keeps it."""
        return Comparison(difference=self.difference, p=self.p)


def compare(
    labels: NDArray[np.int64], ours: NDArray[np.int64], theirs: NDArray[np.int64], *, seed: int = 0
) -> PairedComparison:
    """Compare models on the images on which all of them were tested.

    McNemar's test compares single models. A paired bootstrap compares several seeds: each draw has the same images for
    both, and the variance between seeds is added (see `widened`).

    Args:
        labels: true classes (images,).
        ours: predicted classes (seeds, images), on the same images in the same order.
        theirs: predicted classes of the other models, which have seeds of their own.
        seed: of the draws.
    """
    right = np.vstack([ours, theirs]) == labels
    # Images on which the same models are right are interchangeable. A draw of images is therefore a draw of the number
    # of images of each kind.
    kinds, counts = np.unique(right, axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn = resamples(counts, rng) / len(labels)
    accuracies = drawn @ kinds.T  # (draws, models)
    values = (counts / len(labels)) @ kinds.T
    first, second = (Models(values[part], accuracies[:, part]) for part in (slice(len(ours)), slice(len(ours), None)))
    mean = float(first.values.mean() - second.values.mean())
    differences = widened(first.drawn.mean(axis=1) - second.drawn.mean(axis=1), mean, [first, second])
    if len(ours) == len(theirs) == 1:
        p = mid_p_mcnemar(int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()))
    else:
        beyond = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
        p = min(1.0, 2 * (beyond + 1) / (len(differences) + 1))
    return PairedComparison(mean, differences, p)


def mid_p_mcnemar(ours: int, theirs: int) -> float:
    """Return the p of McNemar's test of two models on the same images, two-sided with mid-p.

    The test is that of Fagerland, Lydersen and Laake (2013).

    Args:
        ours: number of images on which only the first is right.
        theirs: number of images on which only the second is right.
    """
    from scipy.stats import binom  # takes a second to import, which workers need not wait for

    fewer, both = min(ours, theirs), ours + theirs
    if both == 0:
        return 1.0
    at = float(binom.pmf(fewer, both, 0.5))
    return 1 - at / 2 if ours == theirs else 2 * float(binom.cdf(fewer, both, 0.5)) - at


def corrected(found: Mapping[str, PairedComparison]) -> dict[str, PairedComparison]:
    """Correct several comparisons: p by `holm`, and intervals to the stricter level, without 0 if p is significant."""
    adjusted = holm({name: comparison.p for name, comparison in found.items()})
    return {
        name: replace(
            comparison,
            p=adjusted[name],
            level=1 - (1 - LEVEL) * (comparison.p / adjusted[name] if comparison.p else 1 / len(found)),
        )
        for name, comparison in found.items()
    }


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted so that any of them errs no more often than one test alone (Holm 1979)."""
    adjusted: dict[str, float] = {}
    least = 0.0
    for done, name in enumerate(sorted(values, key=lambda name: values[name])):
        least = max(least, min(1.0, (len(values) - done) * values[name]))
        adjusted[name] = least
    return adjusted
