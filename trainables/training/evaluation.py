"""The one evaluation of a model on a split, which all recipes use."""

import torch
from torch import nn
from torch.nn import functional as F

from trainables.data import Split
from trainables.training.metrics import Evaluation

EVALUATION_BATCH = 512


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, classes: int) -> Evaluation:
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
        of_classes = F.log_softmax(logits, dim=1)
        losses.append(F.nll_loss(of_classes, labels, reduction="none").double())
        predictions.append(logits.argmax(1))
        log_probabilities.append(of_classes)
    return Evaluation(
        losses=torch.cat(losses).cpu().numpy(),
        labels=split.labels.cpu().numpy(),
        predictions=torch.cat(predictions).cpu().numpy(),
        log_probabilities=torch.cat(log_probabilities).cpu().numpy(),
    )
