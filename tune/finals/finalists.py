"""Finalists: the best configurations, trained with each seed and tested, as an experiment's folder holds them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from search_spaces import Value
from trainables.training.metrics import Evaluation, Metrics
from tune.experiment.folder import FINAL
from tune.experiment.report_figures import Interval
from tune.experiment.trial_record import TrialRecord
from tune.finals.final_file import FinalRecord, TestedRecord, read_final
from tune.finals.intervals import intervals
from tune.settings.settings import Settings

DEFAULT = "default"
"""The placeholder for a trial's number in the names of finals of a default point."""


@dataclass(frozen=True, kw_only=True)
class Tested(TestedRecord):
    """A model that was tested.

    Attributes:
        folder: of model.safetensors and of the labels and predictions of the images.
        val_of: the folder of the final whose val metrics these are, if that is another one.
    """

    folder: Path
    val_of: Path | None = None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a tested model from its folder."""
        tested: Self = cls.adapter().validate_python({**read_final(folder), "folder": folder})
        return tested

    @property
    def labels(self) -> NDArray[np.int64]:
        """The true class of each test image."""
        return _array(self.folder, "labels")

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The predicted class of each test image."""
        return _array(self.folder, "predictions")

    @property
    def losses(self) -> NDArray[np.float64]:
        """The cross-entropy of each test image in nats."""
        return _array(self.folder, "losses")

    @property
    def log_probabilities(self) -> NDArray[np.float16]:
        """The log-probability of each class for each test image (images, classes)."""
        return _array(self.folder, "log_probabilities")

    @property
    def thumbnails(self) -> NDArray[np.uint8]:
        """The images of `examples`, (N, C, H, W)."""
        return _array(self.folder, "thumbnails")

    @property
    def chosen_in(self) -> Path:
        """The folder of the final whose val metrics these are."""
        return self.val_of or self.folder

    @property
    def val_log_probabilities(self) -> NDArray[np.float16]:
        """The log-probability of each class for each val image (images, classes)."""
        return _array(self.chosen_in, "val_log_probabilities")

    @property
    def val_labels(self) -> NDArray[np.int64]:
        """The true class of each val image."""
        labels: NDArray[np.int64] = _array(self.chosen_in, "val")[0]
        return labels

    @property
    def on_test(self) -> Evaluation:
        """The evaluation on test."""
        return Evaluation(
            losses=self.losses,
            labels=self.labels,
            predictions=self.predictions,
            log_probabilities=self.log_probabilities,
        )

    @property
    def on_val(self) -> Evaluation:
        """The evaluation on val."""
        labels, predictions = _array(self.chosen_in, "val")
        return Evaluation(
            losses=_array(self.chosen_in, "val_losses"),
            labels=labels,
            predictions=predictions,
            log_probabilities=self.val_log_probabilities,
        )


@dataclass(frozen=True, kw_only=True)
class Final(FinalRecord, Tested):
    """One training with one seed, tested."""


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A configuration with all its seeds."""

    finals: list[Final]

    @property
    def first(self) -> Final:
        """Any of the finals: recipe, configuration and trial are the same for all."""
        return self.finals[0]

    @property
    def val(self) -> Metrics:
        """The mean of each val metric over the seeds."""
        return {name: float(np.mean([f.val[name] for f in self.finals])) for name in self.first.val}

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The predicted class of each test image, by each seed (seeds, images)."""
        return np.stack([final.predictions for final in self.finals])

    @property
    def on_train_alone(self) -> "Finalist | None":
        """The same trainings on train alone, if these are on train and val; else None."""
        before = [Final.load(final.val_of) for final in self.finals if final.val_of]
        return Finalist(finals=before) if before else None

    def test(self) -> dict[str, Interval]:
        """Return each test metric with its 95% interval."""
        return intervals([final.on_test for final in self.finals])

    def median(self, metric: str) -> Final:
        """Return the final with the median val metric; the lower middle one if their number is even."""
        ranked = sorted(self.finals, key=lambda final: (final.val[metric], final.seed))
        return ranked[(len(ranked) - 1) // 2]


@dataclass(frozen=True)
class Candidate:
    """A configuration that is to be trained again. Without `trial`, it is the default point of its recipe."""

    recipe: str
    config: dict[str, Value]
    trial: int | None = None

    @classmethod
    def of(cls, record: TrialRecord) -> "Candidate":
        """Make a candidate of a trial's configuration."""
        return cls(record.recipe, record.config, record.number)

    def folder(self, seed: int) -> str:
        """Return the folder of a seed's final, inside the experiment."""
        return f"finals/{self.recipe}-{DEFAULT if self.trial is None else f'{self.trial:05d}'}-{seed}"


def refit_folder(final: Final) -> str:
    """Return the folder of the same training on train and val, inside the experiment."""
    return f"refits/{final.chosen_in.name}"


def winner_of(finalists: Iterable[Finalist], settings: Settings) -> Finalist | None:
    """Return the finalist with the best mean val metric; of equals, the one whose recipe was named first."""
    objective = settings.objective
    in_order = sorted(finalists, key=lambda finalist: settings.recipes.index(finalist.first.recipe))
    return min(in_order, key=lambda finalist: objective.cost(finalist.val[objective.metric]), default=None)


def load_finalists(folder: Path, trials: Sequence[int], settings: Settings) -> list[Finalist]:
    """Load the finals of these trials that were trained as the settings say, in the order of `trials`."""
    places = [file.parent for file in (folder / "finals").glob(f"[!.]*-*-*/{FINAL}")]
    finals = _as_asked(folder, map(Final.load, places), settings)
    of_trial = {trial: [final for final in finals if final.trial == trial] for trial in trials}
    return [Finalist(finals=found) for found in of_trial.values() if found]


def load_default(folder: Path, recipe: str, settings: Settings) -> Finalist | None:
    """Load the finals of a recipe's default point that were trained as the settings say; None if there are none."""
    places = [folder / Candidate(recipe, {}).folder(seed) for seed in settings.seeds_of_finals]
    finals = _as_asked(folder, (Final.load(place) for place in places if (place / FINAL).exists()), settings)
    return Finalist(finals=finals) if finals else None


def _as_asked(folder: Path, finals: Iterable[Final], settings: Settings) -> list[Final]:
    """Return the finals for the seeds and the splits that the settings ask for, sorted by seed."""
    asked = sorted((final for final in finals if final.seed in settings.seeds_of_finals), key=lambda final: final.seed)
    if settings.final_train == "train":
        return asked
    places = [(final, folder / refit_folder(final)) for final in asked]
    return [
        replace(Final.load(place), val=final.val, val_of=final.folder)
        for final, place in places
        if (place / FINAL).exists()
    ]


def _array(folder: Path, name: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(folder / f"{name}.npy")
    return array
