import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from trainables.data import TrainData
from trainables.training.metric_names import VAL_METRICS
from trainables.training.metrics import confusion_matrix, evaluate, tally


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_those_of_scikit_learn_also_with_absent_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = 6
    labels = rng.integers(0, classes - 1, 80)  # the last class does not occur
    predictions = np.where(rng.random(80) < 0.5, labels, rng.integers(1, classes, 80))  # class 0 is seldom predicted
    averages = tally(confusion_matrix(labels, predictions, classes)).averages()
    assert averages["accuracy"] == pytest.approx(accuracy_score(labels, predictions))
    for average in ("macro", "weighted"):
        expected = precision_recall_fscore_support(
            labels, predictions, average=average, labels=range(classes), zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert averages[f"{average}_{name}"] == pytest.approx(value), name


def test_rows_of_the_confusion_matrix_are_true_classes() -> None:
    matrix = confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    assert matrix.tolist() == [[1, 1], [0, 1]]


def test_evaluation_is_the_mean_over_images_not_over_batches(digits: TrainData) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), Scale(), torch.nn.Linear(64, 10), torch.nn.Dropout(0.9))
    images, labels = digits.val.batch(torch.arange(len(digits.val)))
    whole = torch.nn.functional.cross_entropy(model.eval()(images), labels).item()
    model.train()
    result = evaluate(model, digits.val, 10)
    assert result.loss == pytest.approx(whole, rel=1e-5)
    assert result.confusion.sum() == len(digits.val)
    assert tuple(result.metrics) == VAL_METRICS


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
