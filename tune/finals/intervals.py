"""Intervals of metrics, at 95%."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.training.metrics import CountMetric, Evaluation, MeanMetric, Metric, Tally, metrics_of
from tune.experiment.report_figures import Interval

LEVEL = 0.95
DRAWS = 2000
DRAWS_AT_ONCE = 200
"""A bound on memory: with 50,000 images of 1,000 classes, the counts of these draws take some 100 MiB."""

MANY_SCORES = 1000
"""With more different scores of images, their mean is normal."""


def intervals(models: Sequence[Evaluation]) -> dict[str, Interval]:
    """Return the interval of each metric's mean over models, which are seeds, evaluated on the same images.

    A single model gets Wilson's interval of a share of images, and Student's of another mean. All else is bootstrapped.
    """
    first = models[0]
    counted = bootstrap(first.labels, np.stack([model.predictions for model in models]), first.classes)
    if len(models) == 1:
        right = int((first.predictions == first.labels).sum())
        alone = wilson(right, len(first.labels))
        counted |= dict.fromkeys(("accuracy", "weighted_recall"), alone)  # by definition the same
    found = {
        metric.name: counted[metric.name] if isinstance(metric, CountMetric) else _of_images(metric, models)
        for metric in metrics_of(first.classes)
    }
    return {name: ends for name, ends in found.items() if math.isfinite(ends.mean)}


def _of_images(metric: Metric, models: Sequence[Evaluation], seed: int = 0) -> Interval:
    """Return the interval of a metric that is not a function of predictions alone."""
    scores = np.stack([metric.scores(model) for model in models]) if isinstance(metric, MeanMetric) else None
    values = np.array([metric.value(model) for model in models]) if scores is None else scores.mean(axis=1)
    mean, rng, images = float(values.mean()), np.random.default_rng(seed), len(models[0].labels)
    if not math.isfinite(mean):
        return Interval(mean, mean, mean)
    if scores is not None:
        if len(models) == 1 and not np.isin(scores, (0, 1)).all():
            found = mean_interval(scores[0])
            return Interval(mean, *np.clip((found.low, found.high), *metric.bounds).tolist())
        if len(models) == 1 or ((scores == scores[0, 0]).all() and scores[0, 0] in (0, 1)):
            return wilson(round(mean * images), images)
        drawn = _drawn_means(scores, rng)
    else:
        drawn = np.array([_redrawn(metric, models, rng.integers(images, size=images)) for _ in range(DRAWS)])
    spread = widened(drawn.mean(axis=1), mean, [Models(values, drawn)])
    return percentiles(mean, spread.clip(*metric.bounds))


def _drawn_means(scores: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the means of scores (models, images) over resampled images (draws, models)."""
    images = scores.shape[1]
    kinds, counts = np.unique(scores, axis=1, return_counts=True)  # as in `bootstrap`
    if kinds.shape[1] > MANY_SCORES:
        covariance = np.atleast_2d(np.cov(scores, ddof=0)) / images
        return rng.multivariate_normal(scores.mean(axis=1), covariance, size=DRAWS, check_valid="ignore")
    return np.asarray(resamples(counts, rng) @ kinds.T / images)


def resamples(counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Resample images; return the number of images of each kind (draws, kinds), given the real ones (kinds,)."""
    return rng.multinomial(counts.sum(), counts / counts.sum(), size=DRAWS)


def _redrawn(metric: Metric, models: Sequence[Evaluation], at: NDArray[np.int64]) -> list[float]:
    """Return a metric of each model on the images at these positions."""
    return [
        metric.value(
            Evaluation(
                losses=model.losses[at],
                labels=model.labels[at],
                predictions=model.predictions[at],
                log_probabilities=model.log_probabilities[at],
            )
        )
        for model in models
    ]


def wilson(correct: int, n: int) -> Interval:
    """Return Wilson's score interval of one model's accuracy on `n` images (Wilson 1927)."""
    from scipy.stats import binomtest  # takes a second to import, which workers need not wait for

    ends = binomtest(correct, n).proportion_ci(LEVEL, method="wilson")
    return Interval(correct / n, float(ends.low), float(ends.high))


def mean_interval(values: NDArray[np.float64]) -> Interval:
    """Return Student's interval of the mean of values (n,), one for each image, such as the losses."""
    from scipy.stats import t  # late, as above

    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, mean, mean)
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def bootstrap(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int, *, seed: int = 0
) -> dict[str, Interval]:
    """Return percentile intervals of the means over seeds of metrics that are functions of predictions.

    Draws resample images, and seed variance is added.

    Args:
        labels: true classes (images,).
        predictions: predicted classes (seeds, images), on the same images in the same order.
        classes: number of classes.
        seed: of the draws.

    If no model errs on any image, draws cannot differ. Wilson's interval of the accuracy then stands for all metrics.
    """
    # Images for which all models predict the same, and whose labels are the same, are interchangeable. A draw of images
    # is therefore a draw of the number of images of each kind.
    kinds, counts = np.unique(np.vstack([labels, predictions]), axis=1, return_counts=True)
    found = {name: value[0] for name, value in _metrics(kinds, classes, counts[None]).items()}
    if (predictions == labels).all():
        return dict.fromkeys(found, wilson(len(labels), len(labels)))
    rng = np.random.default_rng(seed)
    parts = [
        _metrics(kinds, classes, rng.multinomial(len(labels), counts / len(labels), size=DRAWS_AT_ONCE))
        for _ in range(0, DRAWS, DRAWS_AT_ONCE)
    ]
    bounds, ends = {metric.name: metric.bounds for metric in metrics_of(classes)}, {}
    for name, values in found.items():
        drawn = np.concatenate([part[name] for part in parts])
        spread = widened(drawn.mean(axis=1), float(values.mean()), [Models(values, drawn)])
        ends[name] = percentiles(float(values.mean()), spread.clip(*bounds[name]))
    return ends


def percentiles(mean: float, draws: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """Return the interval between outer percentiles of draws (draws,). Its ends are draws, so that it agrees with p."""
    outside = max(1, int((len(draws) + 1) * (1 - level) / 2 + 1e-9))
    ordered = np.sort(draws)
    return Interval(mean, float(ordered[outside - 1]), float(ordered[-outside]))


@dataclass(frozen=True)
class Models:
    """A metric of the models of several seeds.

    Attributes:
        values: on the original images (models,).
        drawn: on resampled images, the same for all models (draws, models).
    """

    values: NDArray[np.float64]
    drawn: NDArray[np.float64]


def widened(draws: NDArray[np.float64], mean: float, of: Sequence[Models]) -> NDArray[np.float64]:
    """Widen draws (draws,) of a mean over seeds, or of the difference of two means, by the variance between seeds.

    Resampling only images leaves the seeds as they are. Resampling both seeds and images counts their common variance
    more than once, and three seeds are too few to draw from (Owen 2007, The pigeonhole bootstrap). The variance between
    seeds that images do not explain is therefore estimated as in a two-way layout of images and seeds, and added.
    Student's quantile is taken for the degrees of freedom that this leaves (Satterthwaite 1946).
    """
    from scipy.stats import norm, t  # takes a second to import, which workers need not wait for

    of_images = float(draws.var(ddof=1))
    total, uncertain = of_images, 0.0
    for models in of:
        seeds = len(models.values)
        if seeds > 1:
            between = float(models.values.var(ddof=1))
            residual = float((models.drawn - models.drawn.mean(axis=1, keepdims=True)).var(axis=0, ddof=1).sum())
            extra = between - residual / (seeds - 1)
            if extra > 0:
                total += extra / seeds
                uncertain += (between / seeds) ** 2 / (seeds - 1)
    if not uncertain or not of_images:
        return draws
    quantile = (1 + LEVEL) / 2
    factor = np.sqrt(total / of_images) * t.ppf(quantile, total**2 / uncertain) / norm.ppf(quantile)
    return np.asarray(mean + (draws - mean) * factor)


def _metrics(kinds: NDArray[np.int64], classes: int, counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return each metric of each model (draws, models).

    Args:
        kinds: of images: their true class and each model's prediction (1 + models, kinds).
        classes: number of classes.
        counts: of each kind in each draw (draws, kinds).
    """
    from scipy.sparse import csr_array  # late, as above

    def by_class(of: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the counts (draws, classes) of images whose kind has class `of` (kinds,)."""
        members = csr_array((np.ones(len(of)), (of, np.arange(len(of)))), shape=(classes, len(of)))
        sums: NDArray[np.float64] = (members @ counts.T).T
        return sums

    labels, *said = kinds
    support = by_class(labels, counts)
    tallies = (
        Tally(by_class(labels, counts * (predictions == labels)), by_class(predictions, counts), support)
        for predictions in said
    )
    metrics = [metric for metric in metrics_of(classes) if isinstance(metric, CountMetric)]
    values = [{metric.name: metric.of_counts(tally) for metric in metrics} for tally in tallies]
    return {metric.name: np.stack([of_model[metric.name] for of_model in values], axis=1) for metric in metrics}
