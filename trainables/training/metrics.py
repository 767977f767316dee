"""The metrics of a classifier: each is defined here, once, with its label and the places that show it.

A metric in `METRICS` is measured on val after every epoch and on test, where it gets an interval. Terminal, page,
Markdown, Python and W&B show those with `shown`. The module imports no torch.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
"""True classes (images,)."""

LogProbabilities = NDArray[np.floating]
"""The log-probability of each class (images, classes)."""

Metrics = dict[str, float]
"""Metrics by name."""

EpochFigures = dict[str, float]
"""The figures of an epoch, by name.

They are the val metrics, by the names of `METRICS`; train_loss and train_accuracy; lr; and TIMINGS. A study adds the
number of the epoch. A recipe without a figure leaves it out.
"""

TIMINGS = ("seconds", "loading_seconds", "images_per_second", "memory_mib")
"""The figures of an epoch that differ between identical runs."""

TOP = 5


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The outputs of a model on a split.

    Attributes:
        losses: cross-entropy of each image in nats (N,), in the order of the split.
        labels: true class indices (N,).
        predictions: predicted class indices (N,).
        log_probabilities: of each class (N, classes). Unlike losses and predictions, they may be in half precision.
    """

    losses: NDArray[np.float64]
    labels: Labels
    predictions: NDArray[np.int64]
    log_probabilities: LogProbabilities

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.log_probabilities.shape[1])

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats."""
        return float(self.losses.mean())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """The counts (classes, classes), with true classes as rows and predicted ones as columns."""
        return confusion_matrix(self.labels, self.predictions, self.classes)

    @property
    def metrics(self) -> Metrics:
        """All metrics that apply to this number of classes."""
        counts = tally(self.confusion)
        return {
            metric.name: float(metric.of_counts(counts)) if isinstance(metric, CountMetric) else metric.value(self)
            for metric in metrics_of(self.classes)
        }


def confusion_matrix(labels: Labels, predictions: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Count predictions by class (classes, classes): rows are true classes, columns predicted ones."""
    cells = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes)


@dataclass(frozen=True)
class Tally:
    """The counts (..., classes) behind metrics of predictions: correct predictions, predictions, true labels.

    Precision, recall and F1 are 0 for a class without predictions or images: scikit-learn's `zero_division=0`.
    """

    hits: NDArray[np.float64]
    predicted: NDArray[np.float64]
    support: NDArray[np.float64]

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """The share of the predictions of each class that are right (..., classes)."""
        return _ratio(self.hits, self.predicted)

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """The share of the images of each class that are recognized (..., classes)."""
        return _ratio(self.hits, self.support)

    @cached_property
    def f1(self) -> NDArray[np.float64]:
        """The harmonic mean of precision and recall (..., classes)."""
        return _ratio(2 * self.hits, self.predicted + self.support)

    def weighted(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of values (..., classes), each class weighted by its images (...)."""
        return np.asarray((values * self.support).sum(axis=-1) / self.support.sum(axis=-1))


def tally(confusion: NDArray[np.int64]) -> Tally:
    """Return the counts of a confusion matrix (classes, classes) with true classes as rows."""
    hits = confusion.diagonal().astype(float)
    return Tally(hits, confusion.sum(axis=0).astype(float), confusion.sum(axis=1).astype(float))


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """A metric of a classifier on a split.

    Attributes:
        name: the key in files, such as macro_f1.
        label: the name that people read.
        shown: True if the leaderboards have a column of it. A terminal of 80 columns has room for three.
        larger_is_better: False for a loss.
        least_classes: the least number of classes for which it says anything.
        bounds: the smallest and the largest value.
    """

    name: str
    label: str
    shown: bool = False
    larger_is_better: bool = True
    least_classes: int = 1
    bounds: tuple[float, float] = (0.0, 1.0)

    @abstractmethod
    def value(self, evaluation: Evaluation) -> float:
        """Return the metric on a split."""


@dataclass(frozen=True, kw_only=True)
class GeneralMetric(Metric):
    """Any function of labels and log-probabilities. Its intervals take thousands of calls, so it should be fast."""

    function: Callable[[Labels, LogProbabilities], float]

    def value(self, evaluation: Evaluation) -> float:
        """Return the metric on a split."""
        return float(self.function(evaluation.labels, evaluation.log_probabilities))


@dataclass(frozen=True, kw_only=True)
class MeanMetric(Metric):
    """The mean over images of a score of each image (images,)."""

    function: Callable[[Labels, LogProbabilities], NDArray[np.float64]]

    def scores(self, evaluation: Evaluation) -> NDArray[np.float64]:
        """Return the score of each image (images,)."""
        return self.function(evaluation.labels, evaluation.log_probabilities)

    def value(self, evaluation: Evaluation) -> float:
        """Return the metric on a split."""
        return float(self.scores(evaluation).mean())


@dataclass(frozen=True, kw_only=True)
class CountMetric(Metric):
    """A function (...) of the counts of each class (..., classes), which resamples of images share."""

    of_counts: Callable[[Tally], NDArray[np.float64]]

    def value(self, evaluation: Evaluation) -> float:
        """Return the metric on a split."""
        return float(self.of_counts(tally(evaluation.confusion)))


class _Loss(MeanMetric):
    """The cross-entropy, from the exact losses instead of log-probabilities in half precision."""

    def scores(self, evaluation: Evaluation) -> NDArray[np.float64]:
        """Return the loss of each image (images,)."""
        return evaluation.losses


def cross_entropy(labels: Labels, log_probabilities: LogProbabilities) -> NDArray[np.float64]:
    """Return the cross-entropy of each image in nats (images,)."""
    return -log_probabilities[np.arange(len(labels)), labels].astype(np.float64)


def in_top(labels: Labels, log_probabilities: LogProbabilities) -> NDArray[np.float64]:
    """Return 1 for each image whose class is among the five most likely, else 0 (images,).

    Of classes that are as likely as the true one, chance decides, so that an image may count for a part. A kNN with few
    neighbors gives most classes the same probability.
    """
    given = np.asarray(log_probabilities, np.result_type(log_probabilities, np.float32))  # half precision is slow
    own = given[np.arange(len(labels)), labels][:, None]
    better, equal = (given > own).sum(axis=1), (given == own).sum(axis=1)
    places = ((TOP - better) / np.maximum(equal, 1)).clip(0, 1)
    return np.asarray(np.where(equal > 0, places, 0.0))  # NaN equals nothing, itself included


METRICS: tuple[Metric, ...] = (
    _Loss(name="loss", label="loss", function=cross_entropy, larger_is_better=False, bounds=(0.0, math.inf)),
    CountMetric(
        name="accuracy",
        label="accuracy",
        shown=True,
        of_counts=lambda of: of.hits.sum(axis=-1) / of.support.sum(axis=-1),
    ),
    CountMetric(name="macro_precision", label="macro precision", of_counts=lambda of: of.precision.mean(axis=-1)),
    CountMetric(name="weighted_precision", label="weighted precision", of_counts=lambda of: of.weighted(of.precision)),
    CountMetric(name="macro_recall", label="balanced accuracy", of_counts=lambda of: of.recall.mean(axis=-1)),
    CountMetric(name="weighted_recall", label="weighted recall", of_counts=lambda of: of.weighted(of.recall)),
    CountMetric(name="macro_f1", label="macro F1", shown=True, of_counts=lambda of: of.f1.mean(axis=-1)),
    CountMetric(name="weighted_f1", label="weighted F1", of_counts=lambda of: of.weighted(of.f1)),
    MeanMetric(name="top5_accuracy", label="top-5 accuracy", shown=True, least_classes=TOP + 1, function=in_top),
)
"""All metrics, in the order of tables and files. To add a metric, add it here."""


def metrics_of(classes: int) -> list[Metric]:
    """Return the metrics that apply to this number of classes."""
    return [metric for metric in METRICS if classes >= metric.least_classes]


def shown_metrics() -> list[Metric]:
    """Return the metrics that leaderboards show."""
    return [metric for metric in METRICS if metric.shown]


def metric_names() -> list[str]:
    """Return the names of all metrics."""
    return [metric.name for metric in METRICS]


def label_of(name: str) -> str:
    """Return the label of a metric; one that is not known here, as of another version, keeps its name."""
    return next((metric.label for metric in METRICS if metric.name == name), name)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)
