"""Calibration: the agreement of confidence and accuracy, and a temperature that restores it (Guo et al. 2017)."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from tune.experiment.report_figures import ReliabilityBin

BINS = 15
"""The number of bins, of equal width, as in the paper."""

COLDEST, HOTTEST = 0.05, 20.0


def reliability(log_probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> list[ReliabilityBin]:
    """Return confidence against accuracy in each bin, the lowest confidence first; empty bins are left out.

    Args:
        log_probabilities: of each class (images, classes).
        labels: true classes (images,).
    """
    confidence = np.exp(log_probabilities.max(axis=1).astype(np.float64))
    right = log_probabilities.argmax(axis=1) == labels
    number = np.ceil(confidence * BINS).clip(1, BINS).astype(int)
    return [
        ReliabilityBin(
            confidence=float(confidence[own].mean()), accuracy=float(right[own].mean()), images=int(own.sum())
        )
        for own in (number == n for n in range(1, BINS + 1))
        if own.any()
    ]


def expected_calibration_error(bins: list[ReliabilityBin]) -> float:
    """Return the mean absolute difference of confidence and accuracy over images; 0 for perfect calibration."""
    images = sum(each.images for each in bins)
    return sum(each.images * abs(each.confidence - each.accuracy) for each in bins) / images


def fit_temperature(log_probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the divisor of the logits that gives the least cross-entropy; above 1 for an overconfident model.

    The arguments are those of `reliability`, for images on which the model was neither trained nor is tested.
    """
    from scipy.optimize import minimize_scalar  # takes a second to import, which workers need not wait for

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(scaled(log_probabilities, np.exp(log_temperature))[rows, labels].mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def scaled(log_probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return the log-probabilities (images, classes) of logits divided by a temperature."""
    return np.asarray(log_softmax(log_probabilities.astype(np.float64) / temperature, axis=1))
