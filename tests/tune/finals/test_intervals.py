"""Intervals of metrics that are not functions of predictions alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from trainables.training.metrics import METRICS, Evaluation, GeneralMetric, MeanMetric, Metric
from tune.finals.intervals import MANY_SCORES, intervals, mean_interval, wilson


def models(seeds: int, images: int, classes: int = 8) -> list[Evaluation]:
    rng = np.random.default_rng(seeds)
    labels = rng.integers(0, classes, images)
    evaluations = []
    for _ in range(seeds):
        logits = rng.normal(size=(images, classes)) + 2 * np.eye(classes)[labels]
        said = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        losses = -said[np.arange(images), labels]
        evaluations.append(
            Evaluation(losses=losses, labels=labels, predictions=said.argmax(axis=1), log_probabilities=said)
        )
    return evaluations


def right(labels: NDArray[np.int64], log_probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    return (log_probabilities.argmax(axis=1) == labels).astype(float)


@pytest.mark.parametrize(
    "accuracy",
    [
        GeneralMetric(name="again", label="again", function=lambda labels, said: float(right(labels, said).mean())),
        MeanMetric(name="again", label="again", function=right),
    ],
    ids=lambda metric: type(metric).__name__,
)
def test_the_accuracy_has_the_same_interval_whatever_kind_of_metric_it_is(
    measure: Callable[[Sequence[Metric]], None], accuracy: Metric
) -> None:
    measure((*METRICS, accuracy))
    found = intervals(models(3, 400))
    width = found["accuracy"].high - found["accuracy"].low
    assert found["again"].mean == pytest.approx(found["accuracy"].mean)
    assert (found["again"].low, found["again"].high) == pytest.approx(
        (found["accuracy"].low, found["accuracy"].high), abs=0.1 * width
    )


def test_the_mean_of_many_scores_has_the_same_interval_as_a_resample() -> None:
    """Losses that are rounded to tenths have the same mean, nearly, and few different scores."""
    evaluations = models(2, 1500)
    rounded = [replace(model, losses=model.losses.round(1)) for model in evaluations]
    different = [len({*zip(*(model.losses for model in each), strict=True)}) for each in (evaluations, rounded)]
    assert different[0] > MANY_SCORES > different[1]
    normal, resampled = (intervals(each)["loss"] for each in (evaluations, rounded))
    assert normal.mean == pytest.approx(np.mean([model.loss for model in evaluations]))
    assert resampled.mean == pytest.approx(normal.mean, abs=0.002)
    width = resampled.high - resampled.low
    assert (normal.low, normal.high) == pytest.approx((resampled.low, resampled.high), abs=0.1 * width)


def test_a_single_model_has_wilsons_interval_of_a_share_and_students_of_a_mean() -> None:
    (model,) = models(1, 300)
    found = intervals([model])
    assert found["loss"] == mean_interval(model.losses)
    assert found["top5_accuracy"] == wilson(round(model.metrics["top5_accuracy"] * 300), 300)
    assert found["accuracy"] == wilson(int((model.predictions == model.labels).sum()), 300)


def test_models_that_are_always_right_are_not_certain() -> None:
    (model,) = models(1, 100)
    sure = Evaluation(
        losses=np.zeros(100), labels=model.labels, predictions=model.labels, log_probabilities=model.log_probabilities
    )
    always = np.where(np.eye(8)[model.labels] == 1, 0.0, -9.0)
    found = intervals([Evaluation(**{**vars(sure), "log_probabilities": always})] * 2)
    assert found["top5_accuracy"] == found["accuracy"] == wilson(100, 100)


def test_a_metric_that_is_no_number_has_no_interval() -> None:
    (model,) = models(1, 50)
    lost = Evaluation(**{**vars(model), "losses": np.full(50, np.inf)})
    assert "loss" not in intervals([lost, lost])
