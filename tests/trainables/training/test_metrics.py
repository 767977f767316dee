import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, top_k_accuracy_score

from trainables.data import TrainData
from trainables.training.evaluation import evaluate
from trainables.training.metrics import Evaluation, in_top, metric_names


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_those_of_scikit_learn_also_with_absent_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = 6
    labels = rng.integers(0, classes - 1, 80)  # the last class does not occur
    predictions = np.where(rng.random(80) < 0.5, labels, rng.integers(1, classes, 80))  # class 0 is seldom predicted
    averages = evaluation(labels, np.eye(classes)[predictions]).metrics
    assert averages["accuracy"] == pytest.approx(accuracy_score(labels, predictions))
    for average in ("macro", "weighted"):
        expected = precision_recall_fscore_support(
            labels, predictions, average=average, labels=range(classes), zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert averages[f"{average}_{name}"] == pytest.approx(value), name


def test_rows_of_the_confusion_matrix_are_true_classes() -> None:
    found = evaluation(np.array([0, 0, 1]), np.eye(2)[[0, 1, 1]])
    assert found.confusion.tolist() == [[1, 1], [0, 1]]


def test_the_true_class_may_be_any_of_the_five_most_likely() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(300, 12)), rng.integers(0, 12, 300)
    found = evaluation(labels, scores).metrics["top5_accuracy"]
    assert found == pytest.approx(top_k_accuracy_score(labels, scores, k=5, labels=range(12)))
    assert "top5_accuracy" not in evaluation(labels % 5, scores[:, :5]).metrics, "of five classes, one is always it"


def test_classes_as_likely_as_the_true_one_share_the_places_among_five() -> None:
    """One neighbor votes for class 0, and the nine other classes are as likely as each other."""
    votes = np.tile(np.log([0.91, *[0.01] * 9]), (2, 1))
    assert in_top(np.array([0, 7]), votes).tolist() == [1.0, pytest.approx(4 / 9)]
    assert in_top(np.array([0]), np.full((1, 10), np.nan)).tolist() == [0.0]


def evaluation(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> Evaluation:
    return Evaluation(
        losses=np.zeros(len(labels)), labels=labels, predictions=scores.argmax(axis=1), log_probabilities=scores
    )


def test_evaluation_is_the_mean_over_images_not_over_batches(digits: TrainData) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), Scale(), torch.nn.Linear(64, 10), torch.nn.Dropout(0.9))
    images, labels = digits.val.batch(torch.arange(len(digits.val)))
    whole = torch.nn.functional.cross_entropy(model.eval()(images), labels).item()
    model.train()
    result = evaluate(model, digits.val, 10)
    assert result.loss == pytest.approx(whole, rel=1e-5)
    assert result.confusion.sum() == len(digits.val)
    assert list(result.metrics) == metric_names()


class Scale(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float() / 255


def test_a_model_without_a_logit_for_each_class_is_refused(digits: TrainData) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(11))
    with pytest.raises(ValueError, match=r"logits are \(\d+, 11\), not \(\d+, 10\): one for each class"):
        evaluate(torch.nn.Sequential(AsFloat(), model), digits.val, 10)


class AsFloat(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float()
