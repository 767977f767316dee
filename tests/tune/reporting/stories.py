"""Experiments that never ran: a real folder and study, with trials and finals as a test tells them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection

from search_spaces import Value, space_of
from trainables.training.metrics import Evaluation
from tune.experiment.experiment import Experiment
from tune.experiment.study import SearchStudy
from tune.experiment.train_samples import Samples
from tune.experiment.trial_record import Heard, TrialRecord
from tune.finals.finalists import Finalist, load_finalists
from tune.settings.settings import Settings
from tune.tuning.optuna_space import suggest

TEST_IMAGES = 40
LOSSES = np.resize([0.2, 0.6], TEST_IMAGES)


@dataclass
class Story:
    """An experiment that is being made up.

    Each trial draws its configuration at random; a final is right on so many of the test images and takes the
    others for the next class. `model` is the cost of each network.
    """

    experiment: Experiment
    study: SearchStudy
    classes: Sequence[str]
    examples: list[dict[str, Any]] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=lambda: cost())
    _draws: optuna.Study = field(
        default_factory=lambda: optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    )

    @classmethod
    def begin(
        cls,
        folder: Path,
        *,
        classes: Sequence[str] = ("ant", "bee", "cat"),
        on_disk: bool = False,
        card: dict[str, Any] | None = None,
        **given: Any,
    ) -> "Story":
        settings = Settings.model_validate(
            {"recipes": ("knn", "mlp"), "max_epochs": 9, "trials": 6, "out": str(folder), "name": "story"} | given
        )
        experiment = Experiment.at(settings)
        experiment.write("settings.yaml", settings.dump())
        experiment.write("environment.json", environment())
        experiment.write("data.json", data_card(classes) | (card or {}))
        if on_disk:
            study = SearchStudy.create(experiment.storage, settings.name, maximize=settings.objective.maximize)
        else:
            storage = InMemoryStorage()
            storage.create_new_study(
                [StudyDirection.MAXIMIZE if settings.objective.maximize else StudyDirection.MINIMIZE], "story"
            )
            study = SearchStudy(storage, "story")
        return cls(experiment, study, classes)

    def trial(
        self,
        recipe: str,
        values: Sequence[float],
        state: Literal["running", "complete", "pruned", "failed"] = "complete",
        *,
        note: str = "",
        **figures: float,
    ) -> TrialRecord:
        """A trial with these values of the metric, an epoch each."""
        space = space_of(recipe)
        drawn = self._draws.ask()
        config = suggest(drawn, recipe, space, space.searched()).active()
        record = self.study.begin(recipe, config, seed=7, params=drawn.params, distributions=dict(drawn.distributions))
        settings = self.experiment.settings
        for epoch, value in enumerate(values, start=1):
            best = settings.objective.best(values[:epoch])
            # two workers, one after the other, each with an epoch in two seconds
            heard = Heard(1e9 + 20.0 * (record.number // 2) + 2.0 * epoch, f"host {record.number % 2}")
            said = {**val_figures(0.5), settings.metric: value, "seconds": 1.5, **figures}
            self.study.report(record.number, epoch, said, best, heard)
        return record if state == "running" else self.study.end(record.number, state, note)

    def final(
        self, record: TrialRecord, *, seed: int, val: float, right: int, config: dict[str, Value] | None = None
    ) -> None:
        """A trained and tested seed of a trial."""
        name, config = f"{record.recipe}-{record.number:05d}-{seed}", config or record.config
        self._final(name, record.recipe, config, record.number, seed=seed, val=val, right=right)

    def refit(self, record: TrialRecord, *, seed: int, right: int) -> None:
        """The same training as a final, on train and val."""
        name, own = f"{record.recipe}-{record.number:05d}-{seed}", {"train_on": "train+val", "val": {}}
        config, number = record.config, record.number
        self._final(name, record.recipe, config, number, seed=seed, val=0.0, right=right, folder="refits", own=own)

    def soup(self, record: TrialRecord, kind: Literal["uniform", "greedy"], *, pool: list[str], right: int) -> None:
        """A soup of all finals of a pool."""
        own = {"kind": kind, "pool": pool, "members": pool}
        name, config = f"{record.recipe}-{kind}", record.config
        self._final(name, record.recipe, config, 0, seed=0, val=0.9, right=right, folder="soups", own=own)
        file = self.experiment.folder / "soups" / name / "final.json"
        kept = json.loads(file.read_text())
        file.write_text(json.dumps({key: kept[key] for key in kept if key not in ("trial", "seed", "epoch")}))

    def _final(
        self,
        name: str,
        recipe: str,
        config: dict[str, Value],
        trial: int | None,
        *,
        seed: int,
        val: float,
        right: int,
        folder: str = "finals",
        own: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        labels, predictions = self._images(right)
        test = self._metrics(labels, predictions)
        place = self.experiment.folder / folder / name
        place.mkdir(parents=True)
        np.save(place / "labels.npy", labels)
        np.save(place / "predictions.npy", predictions)
        np.save(place / "val.npy", np.stack([labels, predictions]))
        for kind in ("", "val_"):
            np.save(place / f"{kind}losses.npy", LOSSES)
            np.save(place / f"{kind}log_probabilities.npy", sure_of(predictions, len(self.classes)))
        (place / "model.safetensors").write_bytes(f"weights of seed {seed}".encode())
        np.save(place / "thumbnails.npy", np.full((len(self.examples), 3, 8, 8), 50 * seed, np.uint8))
        final = {
            "recipe": recipe,
            "config": config,
            "trial": trial,
            "seed": seed,
            "epoch": 3 + seed,
            "val": {**val_figures(0.5), self.experiment.settings.metric: val},
            "test": test,
            "seconds": 2.0,
            "classes": len(self.classes),
            "model": self.model,
            "examples": self.examples,
            **own,  # overrides the values above
        }
        (place / "final.json").write_text(json.dumps(final))

    def default(self, recipe: str, *, seed: int, val: float, right: int) -> None:
        """A trained and tested seed of a recipe's default point."""
        config = self.experiment.default(recipe)
        self._final(f"{recipe}-default-{seed}", recipe, config, None, seed=seed, val=val, right=right)

    def row(self, name: str, config: dict[str, Value], *, right: int, val_right: int | None, epochs: int = 1) -> None:
        """Write the result of a published row of preset.yaml; without `val_right`, it was also trained on val."""
        preset = self.experiment.preset
        assert preset is not None
        labels, predictions = self._images(right)
        on_val = self._images(val_right or 0)
        place = self.experiment.folder / "rows" / name
        place.mkdir(parents=True)
        np.save(place / "labels.npy", labels)
        np.save(place / "predictions.npy", predictions)
        np.save(place / "val.npy", np.stack(on_val))
        for kind, said in (("", predictions), ("val_", on_val[1])):
            np.save(place / f"{kind}losses.npy", LOSSES)
            np.save(place / f"{kind}log_probabilities.npy", sure_of(said, len(self.classes)))
        final = {
            "recipe": preset.rows[name].recipe,
            "config": config,
            "trial": None,
            "seed": 0,
            "epoch": epochs,
            "val": self._metrics(*on_val) if val_right is not None else {},
            "test": self._metrics(labels, predictions),
            "seconds": 2.0,
            "classes": len(self.classes),
            "curves": [{"accuracy": 0.1 * n, "train_accuracy": 0.2 * n} for n in range(epochs)],
            "scores": [{"config": config, "accuracy": 0.25, "seconds": 1.0}],
            "model": self.model,
        }
        (place / "final.json").write_text(json.dumps(final))

    def samples(self, names: Sequence[str], *, side: int = 8) -> None:
        """Images of train with these names, of all classes in turn."""
        images = np.random.default_rng(0).integers(0, 256, (len(names), 3, side, side), np.uint8)
        labels = np.sort(np.arange(len(names)) % len(self.classes))
        Samples(images=images, labels=labels, names=np.array(names)).write(self.experiment)

    def _images(self, right: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Labels, and predictions of which so many are right and the others the next class."""
        labels = np.arange(TEST_IMAGES) % len(self.classes)
        return labels, np.where(np.arange(TEST_IMAGES) < right, labels, (labels + 1) % len(self.classes))

    def _metrics(self, labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> dict[str, float]:
        said = sure_of(predictions, len(self.classes))
        return Evaluation(losses=LOSSES, labels=labels, predictions=predictions, log_probabilities=said).metrics

    def finalists(self, *records: TrialRecord) -> list[Finalist]:
        numbers = [record.number for record in records]
        return load_finalists(self.experiment.folder, numbers, self.experiment.settings)


def sure_of(predictions: NDArray[np.int64], classes: int, probability: float = 0.8) -> NDArray[np.float16]:
    """Log-probabilities (images, classes) of a model that is always as sure of what it says."""
    others = (1 - probability) / (classes - 1)
    return np.log(np.where(np.eye(classes)[predictions] == 1, probability, others)).astype(np.float16)


def val_figures(value: float) -> dict[str, float]:
    names = [f"{kind}_{name}" for kind in ("macro", "weighted") for name in ("precision", "recall", "f1")]
    return {"loss": 0.7, "accuracy": value, **dict.fromkeys(names, value)}


def cost() -> dict[str, Any]:
    return {
        "parameters": 12345,
        "trainable": 2345,
        "macs": 67890,
        "weights_mib": 0.0625,
        "latency_ms": 0.125,
        "threads": 1,
        "device": "Abacus 2000",
    }


def environment() -> dict[str, Any]:
    return {
        "python": "3.11.7",
        "platform": "Linux",
        "processor": "x86_64",
        "cpu": "AVX2",
        "cores": 2,
        "device": "cpu",
        "threads": 1,
        "packages": {"torch": "2.11.0", "toprung": "0.1.0"},
    }


def evaluated(val: str, test: str) -> dict[str, dict[str, str]]:
    """Return a data card's digests of val and test; different texts stand for different images."""
    return {split: {"pixels": text, "names": f"names of {text}"} for split, text in (("val", val), ("test", test))}


def data_card(classes: Sequence[str]) -> dict[str, Any]:
    counts = {"train": 30, "val": 10, "test": 12}
    return {
        "source": "digits",
        "digest": "0123456789abcdef" * 4,
        "images_digest": "89abcdef" * 8,
        "evaluated": evaluated("val", "test"),
        "variant": "whole",
        "classes": list(classes),
        "shape": {
            "samples": 30 * len(classes),
            "channels": 3,
            "height": 16,
            "width": 16,
            "classes": len(classes),
            "imbalance": 1.0,
        },
        "images": {split: count * len(classes) for split, count in counts.items()},
        "images_left_out": 0,
        "counts": {split: dict.fromkeys(classes, count) for split, count in counts.items()},
        "bad_images": [],
        "duplicates": {kind: {"total": 0, "pairs": []} for kind in ("across_splits", "across_labels")},
        "warnings": [],
    }
