"""Classification metrics from a confusion matrix, and the one evaluation that all recipes use."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from trainables.data import Split
from trainables.training.protocol import Metrics

EVALUATION_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The predictions of a model on a split.

    Attributes:
        losses: cross-entropy of each image in nats (N,), in the order of the split.
        labels: true class indices (N,).
        predictions: predicted class indices (N,).
        classes: number of classes.
        log_probabilities: of each class (N, classes), if requested.
    """

    losses: NDArray[np.float64]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    classes: int
    log_probabilities: NDArray[np.float32] | None = None

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
        """The loss, the accuracy, and macro and weighted precision, recall and F1."""
        return {"loss": self.loss, **{k: float(v) for k, v in tally(self.confusion).averages().items()}}


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, classes: int, *, keep_log_probabilities: bool = False) -> Evaluation:
    """Evaluate `model` on `split` in evaluation mode.

    Raises:
        ValueError: the model does not return one logit for each class.
    """
    model.eval()
    losses, predictions, log_probabilities = [], [], []
    for images, labels in split.batches(EVALUATION_BATCH):
        logits = model(images).float()
        if logits.shape != (len(images), classes):
            raise ValueError(f"logits are {tuple(logits.shape)}, not {(len(images), classes)}: one for each class")
        losses.append(F.cross_entropy(logits, labels, reduction="none").double())
        predictions.append(logits.argmax(1))
        if keep_log_probabilities:
            log_probabilities.append(F.log_softmax(logits, dim=1).cpu())
    return Evaluation(
        losses=torch.cat(losses).cpu().numpy(),
        labels=split.labels.cpu().numpy(),
        predictions=torch.cat(predictions).cpu().numpy(),
        classes=classes,
        log_probabilities=torch.cat(log_probabilities).numpy() if keep_log_probabilities else None,
    )


def confusion_matrix(labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Count predictions by class (classes, classes): rows are true classes, columns predicted ones."""
    cells = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes)


@dataclass(frozen=True)
class Tally:
    """The counts (..., classes) behind all metrics here: correct predictions, predictions, true labels."""

    hits: NDArray[np.float64]
    predicted: NDArray[np.float64]
    support: NDArray[np.float64]

    def per_class(self) -> dict[str, NDArray[np.float64]]:
        """Return precision, recall and F1 (..., classes); 0 for a class without predictions or images.

        This is scikit-learn's convention with `zero_division=0`.
        """
        return {
            "precision": _ratio(self.hits, self.predicted),
            "recall": _ratio(self.hits, self.support),
            "f1": _ratio(2 * self.hits, self.predicted + self.support),
        }

    def averages(self) -> dict[str, NDArray[np.float64]]:
        """Return accuracy and macro and weighted precision, recall and F1 (...)."""
        total = self.support.sum(axis=-1)
        averages = {"accuracy": self.hits.sum(axis=-1) / total}
        for name, values in self.per_class().items():
            averages[f"macro_{name}"] = values.mean(axis=-1)
            averages[f"weighted_{name}"] = (values * self.support).sum(axis=-1) / total
        return averages


def tally(confusion: NDArray[np.int64]) -> Tally:
    """Return the counts of a confusion matrix (classes, classes) with true classes as rows."""
    hits = confusion.diagonal().astype(float)
    return Tally(hits, confusion.sum(axis=0).astype(float), confusion.sum(axis=1).astype(float))


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)
