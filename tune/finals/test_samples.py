"""Test-set samples of a final for the report: its most confident mistakes, and some images at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.training.metrics import Evaluation
from tune.experiment.report_figures import Text

SAMPLES_OF_EACH_KIND = 20
"""Images of each kind."""


Kind = Literal["mistake", "sample"]


@dataclass(frozen=True, kw_only=True)
class Example:
    """An image that was classified.

    Attributes:
        kind: the reason that it is shown.
        name: its path in the data set.
        label, prediction: class indices.
        probability: of the predicted class.
    """

    kind: Kind
    name: Text
    label: int
    prediction: int
    probability: float


def chosen(test: Evaluation) -> dict[Kind, NDArray[np.int64]]:
    """Return the positions of the images to show: the surest mistakes first, and a sample common to all models."""
    sure = test.log_probabilities.max(axis=1)
    wrong = np.flatnonzero(test.predictions != test.labels)
    mistakes = wrong[np.argsort(-sure[wrong], kind="stable")[:SAMPLES_OF_EACH_KIND]]
    sample = np.random.default_rng(0).permutation(len(test.labels))[:SAMPLES_OF_EACH_KIND]
    return {"mistake": mistakes, "sample": np.sort(sample)}


def examples(test: Evaluation, positions: dict[Kind, NDArray[np.int64]], names: Sequence[str]) -> list[Example]:
    """Return the images at `positions` with their predictions; `names` are in the same order."""
    probabilities = np.exp(test.log_probabilities.max(axis=1).astype(np.float64))
    kinds = [(kind, int(at)) for kind, found in positions.items() for at in found]
    return [
        Example(
            kind=kind,
            name=name,
            label=int(test.labels[at]),
            prediction=int(test.predictions[at]),
            probability=float(probabilities[at]),
        )
        for (kind, at), name in zip(kinds, names, strict=True)
    ]
