"""95% intervals of test metrics."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables._metrics import Tally

LEVEL = 0.95
DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95% interval."""

    mean: float
    low: float
    high: float


def intervals(labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int) -> dict[str, Interval]:
    """Each metric's interval: Wilson's for the accuracy of a single model, else the bootstrap's.

    Arguments are those of `bootstrap`.
    """
    found = bootstrap(labels, predictions, classes)
    if len(predictions) == 1:
        right = int((predictions[0] == labels).sum())
        found |= dict.fromkeys(("accuracy", "weighted_recall"), wilson(right, len(labels)))  # by definition the same
    return found


def wilson(correct: int, n: int) -> Interval:
    """Wilson's score interval of one model's accuracy on `n` images (Wilson 1927)."""
    from scipy.stats import binomtest  # a second, which workers need not wait

    ends = binomtest(correct, n).proportion_ci(LEVEL, method="wilson")
    return Interval(correct / n, float(ends.low), float(ends.high))


def bootstrap(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int, *, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals of the metrics' mean over seeds; images and seeds are both drawn anew.

    Args:
        labels: true classes (images,).
        predictions: predicted classes (seeds, images), on the same images in the same order.
        classes: number of classes.
        seed: of the draws.

    Where no model errs on any image, draws cannot differ: then Wilson's interval of the accuracy stands for all.
    """
    everything = np.ones(len(labels))
    means = _means(labels, predictions, classes, everything)
    if (predictions == labels).all():
        return dict.fromkeys(means, wilson(len(labels), len(labels)))
    rng = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {name: [] for name in means}
    for _ in range(DRAWS):
        images = np.bincount(rng.integers(len(labels), size=len(labels)), minlength=len(labels)).astype(float)
        models = rng.integers(len(predictions), size=len(predictions))
        for name, value in _means(labels, predictions[models], classes, images).items():
            draws[name].append(value)
    tail = 100 * (1 - LEVEL) / 2
    return {
        name: Interval(mean, *(float(end) for end in np.percentile(draws[name], [tail, 100 - tail])))
        for name, mean in means.items()
    }


def _means(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int, weights: NDArray[np.float64]
) -> dict[str, float]:
    """Each metric, its mean over the models (models, images), with the images weighted."""

    def count(values: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(values, weights, minlength=classes).astype(float)

    tally = Tally(
        hits=np.stack([count(labels, weights * (labels == row)) for row in predictions]),
        predicted=np.stack([count(row, weights) for row in predictions]),
        support=np.stack([count(labels, weights)] * len(predictions)),
    )
    return {name: float(values.mean()) for name, values in tally.averages().items()}
