"""Calibration: hand-made cases, and the temperature that made-up models were spoilt by."""

import numpy as np
import pytest
from scipy.special import log_softmax

from tune.experiment.report_figures import ReliabilityBin
from tune.finals.calibration import expected_calibration_error, fit_temperature, reliability, scaled


def test_images_are_gathered_by_how_sure_the_model_is() -> None:
    probabilities = np.array([[0.99, 0.01], [0.97, 0.03], [0.49, 0.51], [0.5, 0.5]])
    low, high = reliability(np.log(probabilities), np.array([0, 1, 1, 1]))
    assert (low.images, high.images) == (2, 2)
    assert low.confidence == pytest.approx(0.505)
    assert low.accuracy == 0.5  # the first of two equally likely classes
    assert (high.confidence, high.accuracy) == (pytest.approx(0.98), 0.5)
    assert expected_calibration_error([low, high]) == pytest.approx((0.005 + 0.48) / 2)


def test_a_model_that_is_as_right_as_it_is_sure_has_no_error() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0.5, 1, size=50_000)
    probabilities = np.stack([first, 1 - first], axis=1)
    labels = (rng.random(50_000) > first).astype(np.int64)
    assert expected_calibration_error(reliability(np.log(probabilities), labels)) < 0.01
    assert expected_calibration_error([ReliabilityBin(confidence=0.9, accuracy=0.6, images=10)]) == pytest.approx(0.3)


@pytest.mark.parametrize("spoilt", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_a_model_was_spoilt_by(spoilt: float) -> None:
    rng = np.random.default_rng(1)
    true = log_softmax(rng.normal(size=(20_000, 5)) * 2, axis=1)
    labels = np.array([rng.choice(5, p=row) for row in np.exp(true)])
    shown = log_softmax(true * spoilt, axis=1).astype(np.float16)
    temperature = fit_temperature(shown, labels)
    assert temperature == pytest.approx(spoilt, rel=0.05)
    mended = reliability(scaled(shown, temperature), labels)
    assert expected_calibration_error(mended) < 0.015
    if spoilt != 1:
        assert expected_calibration_error(reliability(shown, labels)) > 0.05


def test_a_model_without_an_error_has_a_temperature() -> None:
    sure = np.log(np.array([[1.0, 1e-9], [1e-9, 1.0]]))
    assert 0 < fit_temperature(sure, np.array([0, 1])) < 1
