"""What finals are worth together: the mean of their probabilities as one classifier."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables._metrics import Evaluation
from tune.finals import Final, Finalist


@dataclass(frozen=True)
class Ensemble:
    """Finalists, all of whose seeds have one vote each."""

    members: Sequence[Finalist]

    @property
    def finals(self) -> list[Final]:
        """The models."""
        return [final for member in self.members for final in member.finals]

    def on_test(self) -> Evaluation:
        """What they say of the test images."""
        labels = self.members[0].first.labels
        return _evaluation(averaged(final.log_probabilities for final in self.finals), labels)

    def on_val(self) -> Evaluation:
        """What they say of the val images."""
        labels, _ = self.members[0].first.on_val
        return _evaluation(averaged(final.val_log_probabilities for final in self.finals), labels)


def ensembles_of(best: Sequence[Finalist]) -> list[Ensemble]:
    """The seeds of each finalist where it has several, and all finalists together where there are several."""
    alone = [Ensemble([finalist]) for finalist in best if len(finalist.finals) > 1]
    return [*alone, Ensemble(best)] if len(best) > 1 else alone


def averaged(log_probabilities: Iterable[NDArray[np.float16]]) -> NDArray[np.float64]:
    """The logarithm of the mean of probabilities (images, classes) of several models."""
    first, *others = log_probabilities
    total = first.astype(np.float64)
    for other in others:
        total = np.logaddexp(total, other.astype(np.float64))
    return np.asarray(total - np.log(1 + len(others)))


def _evaluation(log_probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Evaluation:
    return Evaluation(
        losses=-log_probabilities[np.arange(len(labels)), labels],
        labels=labels,
        predictions=log_probabilities.argmax(axis=1),
        classes=log_probabilities.shape[1],
        log_probabilities=log_probabilities.astype(np.float32),
    )
