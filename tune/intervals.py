"""95% intervals of test metrics."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables._metrics import Tally

LEVEL = 0.95
DRAWS = 2000
DRAWS_AT_ONCE = 200
"""A bound of memory: with 50,000 images of 1,000 classes their counts take some 100 MiB."""


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


def mean_interval(values: NDArray[np.float64]) -> Interval:
    """Student's interval of the mean of one value an image (n,) of several, as of its loss."""
    from scipy.stats import t  # late, as above

    mean = float(values.mean())
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


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
    # images of which all models say the same are alike: a draw of images is a draw of how many of each kind
    kinds, counts = np.unique(np.vstack([labels, predictions]), axis=1, return_counts=True)
    even = np.full(len(predictions), 1 / len(predictions))
    means = {name: float(value[0]) for name, value in _means(kinds, classes, counts[None], even[None]).items()}
    if (predictions == labels).all():
        return dict.fromkeys(means, wilson(len(labels), len(labels)))
    rng = np.random.default_rng(seed)
    models = rng.multinomial(len(predictions), even, size=DRAWS) / len(predictions)
    parts = [
        _means(kinds, classes, rng.multinomial(len(labels), counts / len(labels), size=len(part)), part)
        for part in np.split(models, range(DRAWS_AT_ONCE, DRAWS, DRAWS_AT_ONCE))
    ]
    tail = 100 * (1 - LEVEL) / 2
    return {
        name: Interval(
            mean, *np.percentile(np.concatenate([part[name] for part in parts]), [tail, 100 - tail]).tolist()
        )
        for name, mean in means.items()
    }


def _means(
    kinds: NDArray[np.int64], classes: int, counts: NDArray[np.int64], models: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Each metric (draws,), its mean over the models.

    Args:
        kinds: of images: their true class and what each model says (1 + models, kinds).
        classes: number of classes.
        counts: of each kind in each draw (draws, kinds).
        models: the weight of each model in each draw (draws, models).
    """
    from scipy.sparse import csr_array  # late, as above

    def by_class(of: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Counts (draws, classes) of images whose kind has class `of` (kinds,)."""
        members = csr_array((np.ones(len(of)), (of, np.arange(len(of)))), shape=(classes, len(of)))
        sums: NDArray[np.float64] = (members @ counts.T).T
        return sums

    labels, *said = kinds
    support = by_class(labels, counts)
    means: dict[str, NDArray[np.float64]] = {}
    for predictions, weight in zip(said, models.T, strict=True):
        tally = Tally(by_class(labels, counts * (predictions == labels)), by_class(predictions, counts), support)
        for name, values in tally.averages().items():
            means[name] = means.get(name, 0) + weight * values
    return means
