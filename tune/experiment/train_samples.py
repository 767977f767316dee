"""Train-set samples in an experiment's folder, which show the data even where the data are not present."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.data import load_train, names_of
from trainables.data.thumbnails import thumbnails
from tune.experiment.folder import ExperimentFolder

SAMPLES_FILE = "samples.npz"

MOST_CLASSES = 12
EACH = 6
"""The most samples of a class."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Train-set samples, grouped by class, the class with the most images first.

    Attributes:
        images: uint8 (N, C, H, W), small.
        labels: class indices (N,).
        names: their paths in the data set (N,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: NDArray[np.str_]

    def write(self, experiment: ExperimentFolder) -> None:
        """Write the samples into the folder of an experiment."""
        with experiment.writing(SAMPLES_FILE) as draft, draft.open("wb") as file:
            np.savez_compressed(file, **asdict(self))

    @classmethod
    def of(cls, experiment: ExperimentFolder) -> "Samples | None":
        """Load the samples of an experiment; return None if it has none, as with older experiments."""
        file = experiment.folder / SAMPLES_FILE
        if not file.exists():
            return None
        with np.load(file) as arrays:
            return cls(**arrays)


def keep_samples(experiment: ExperimentFolder) -> None:
    """Choose train-set samples from the data in an experiment's folder, and write them there."""
    data = load_train(experiment.folder, torch.device("cpu"), resident=False)
    labels = data.train.labels.numpy()
    positions = chosen(labels, data.classes)
    Samples(
        images=thumbnails(data.train, positions),
        labels=labels[positions],
        names=np.array(names_of(experiment.folder, "train", positions)),
    ).write(experiment)


def chosen(labels: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the positions of the samples: those of the classes with the most images, ties in order of name."""
    counts = np.bincount(labels, minlength=len(classes))
    ranked = sorted(np.flatnonzero(counts).tolist(), key=lambda label: (-counts[label], classes[label]))
    return np.concatenate([_some(np.flatnonzero(labels == label)) for label in ranked[:MOST_CLASSES]])


def _some(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(positions)[:EACH])
