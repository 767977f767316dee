"""Whether models are right as often as they say, and a temperature that makes them so (Guo et al. 2017)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

BINS = 15
"""Of equal width, as in the paper."""

COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The images whose most likely class has a probability in one of the bins, those of all models.

    Attributes:
        confidence: mean probability of the most likely class.
        accuracy: how often it is the true one.
        images: how many there are.
    """

    confidence: float
    accuracy: float
    images: int


def reliability(log_probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> list[Bin]:
    """Confidence against accuracy, the lowest confidence first; empty bins are left out.

    Args:
        log_probabilities: of each class (images, classes).
        labels: true classes (images,).
    """
    confidence = np.exp(log_probabilities.max(axis=1).astype(np.float64))
    right = log_probabilities.argmax(axis=1) == labels
    number = np.ceil(confidence * BINS).clip(1, BINS).astype(int)
    return [
        Bin(confidence=float(confidence[own].mean()), accuracy=float(right[own].mean()), images=int(own.sum()))
        for own in (number == n for n in range(1, BINS + 1))
        if own.any()
    ]


def expected_calibration_error(bins: list[Bin]) -> float:
    """The mean difference of confidence and accuracy over images: 0 where every bin is as right as it says."""
    images = sum(each.images for each in bins)
    return sum(each.images * abs(each.confidence - each.accuracy) for each in bins) / images


def fit_temperature(log_probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The number that logits are divided by for the least cross-entropy; above 1 where a model is too sure of itself.

    Arguments are those of `reliability`, of images that the model was not trained on and is not tested on.
    """
    from scipy.optimize import minimize_scalar  # a second, which workers need not wait

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(scaled(log_probabilities, np.exp(log_temperature))[rows, labels].mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def scaled(log_probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Log-probabilities (images, classes) of logits divided by a temperature."""
    return np.asarray(log_softmax(log_probabilities.astype(np.float64) / temperature, axis=1))
