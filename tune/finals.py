"""Whole trainings with a test at the end: each recipe's best configurations, a default point, published rows.

This is the only module that evaluates on the test split.
"""

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from search_spaces import Training, Value, space_of
from trainables._checkpoint import weights_of
from trainables._cost import cost_of, device_name
from trainables._data import Split, TrainOn, has_test, load_test, names_of
from trainables._metrics import Evaluation, evaluate
from trainables._protocol import Metrics
from trainables._run import release, run
from trainables._synced import patiently
from tune.attempts import trainer
from tune.examples import chosen, examples, thumbnails
from tune.experiment import FINAL
from tune.intervals import Interval, intervals
from tune.record import Record, rung_of
from tune.settings import Settings
from tune.worker import TrialSettings

LEAST = 60000.0
"""What a log-probability is kept as at the least, as float16 holds no more than 65,504."""

DEFAULT = "default"
"""What stands for the number of a trial in the names of finals of a default point."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """One training with one seed, tested.

    Attributes:
        recipe, config, trial: what was trained, and the trial that found it; None for a default point, which may
            not have been a trial, and for a published row.
        seed: of this training.
        epoch: the one whose weights were tested.
        val, test: metrics on the two splits; val is empty where it was trained on.
        seconds: training and evaluation.
        classes: number of classes.
        curves: the figures of each epoch.
        scores: of the configurations that were compared by cross-validation before this one was trained.
        folder: where model.safetensors and the labels and predictions of the images lie.
        model: what it costs (see `Cost`), with the processor or GPU that it was timed on as "device"; None where it
            was not measured.
        mixed: whether it was trained in bfloat16.
        examples: a few test images (see `Example`), in the order of `thumbnails`.
    """

    recipe: str
    config: dict[str, Value]
    trial: int | None
    seed: int
    epoch: int
    val: Metrics
    test: Metrics
    seconds: float
    classes: int
    curves: list[Metrics] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    folder: Path
    model: dict[str, Any] | None = None
    mixed: bool = False
    examples: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> "Final":
        """A final that was trained before."""
        return cls(**json.loads((folder / FINAL).read_text()), folder=folder)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The true class of each test image."""
        return self._array("labels")

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The predicted class of each test image."""
        return self._array("predictions")

    @property
    def losses(self) -> NDArray[np.float64]:
        """The cross-entropy of each test image in nats."""
        return self._array("losses")

    @property
    def val_losses(self) -> NDArray[np.float64]:
        """The same of each val image."""
        return self._array("val_losses")

    @property
    def log_probabilities(self) -> NDArray[np.float16]:
        """The log-probability of each class for each test image (images, classes)."""
        return self._array("log_probabilities")

    @property
    def val_log_probabilities(self) -> NDArray[np.float16]:
        """The same of the val images."""
        return self._array("val_log_probabilities")

    @property
    def thumbnails(self) -> NDArray[np.uint8]:
        """The images of `examples`, (N, C, H, W)."""
        return self._array("thumbnails")

    @property
    def on_val(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The true and the predicted class of each val image."""
        labels, predictions = self._array("val")
        return labels, predictions

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self.folder / f"{name}.npy")
        return array


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
        """Each val metric, its mean over the seeds."""
        return {name: float(np.mean([f.val[name] for f in self.finals])) for name in self.first.val}

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The predicted class of each test image, by each seed (seeds, images)."""
        return np.stack([final.predictions for final in self.finals])

    def test(self) -> dict[str, Interval]:
        """Each test metric with its 95% interval."""
        return intervals(self.first.labels, self.predictions, self.first.classes)

    def median(self, metric: str) -> Final:
        """The seed of median val metric (of an even number, the lower middle one)."""
        ranked = sorted(self.finals, key=lambda final: (final.val[metric], final.seed))
        return ranked[(len(ranked) - 1) // 2]


@dataclass(frozen=True)
class Candidate:
    """A configuration that is to be trained again; without `trial` the default point of its recipe."""

    recipe: str
    config: dict[str, Value]
    trial: int | None = None

    @classmethod
    def of(cls, record: Record) -> "Candidate":
        """That of a trial."""
        return cls(record.recipe, record.config, record.number)

    def folder(self, seed: int) -> str:
        """The folder of an experiment where the final of a seed lies."""
        return f"finals/{self.recipe}-{DEFAULT if self.trial is None else f'{self.trial:05d}'}-{seed}"


def winner_of(finalists: Iterable[Finalist], settings: Settings) -> Finalist | None:
    """The finalist with the best mean val metric; of equals the one whose recipe was named first."""
    sign = -1 if settings.maximize else 1
    in_order = sorted(finalists, key=lambda finalist: settings.recipes.index(finalist.first.recipe))
    return min(in_order, key=lambda finalist: sign * finalist.val[settings.metric], default=None)


def choose(records: Iterable[Record], milestones: list[int], top: int, *, maximize: bool) -> list[Record]:
    """The `top` best trials of each recipe, among those on the highest rung that any of its trials reached."""
    of_recipe: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.values and record.state != "failed":
            of_recipe[record.recipe].append(record)
    chosen = []
    for group in of_recipe.values():
        highest = max(rung_of(record, milestones) for record in group)
        reached = [record for record in group if rung_of(record, milestones) == highest]
        pick = sorted(reached, key=lambda r: r.value or 0.0, reverse=maximize)  # stable: the earlier trial first
        chosen += pick[:top]
    return chosen


def run_finals(
    candidates: Sequence[Candidate],
    seeds: list[int],
    settings: TrialSettings,
    *,
    cpus: float,
    gpus: float,
    progress: Callable[[int, int], None],
) -> list[str]:
    """Train and test every seed that was not yet, side by side on the cluster; `progress(done, total)`.

    Returns a line for each seed that failed; a resumed search tries those again.
    """
    train = trainer(cpus, gpus)
    folder = settings.place.folder
    wanted = {
        candidate.folder(seed): (candidate, seed)
        for candidate in candidates
        for seed in (seeds[:1] if space_of(candidate.recipe).deterministic else seeds)
    }
    jobs = {
        train.remote(settings.place, name, train_final, settings, each.recipe, each.config, each.trial, seed, name): (
            f"final {name.removeprefix('finals/')}"
        )
        for name, (each, seed) in wanted.items()
        if not (folder / name / FINAL).exists()
    }
    failures = wait_for(jobs, progress, before=len(wanted) - len(jobs))
    settings.place.pull("finals", last=FINAL)
    return failures


def wait_for(jobs: Mapping[ray.ObjectRef[Any], str], progress: Callable[[int, int], None], *, before: int) -> list[str]:
    """Wait for all of `jobs`, which have names, beside `before` done earlier; returns a line for each that failed."""
    waiting, failures = list(jobs), []
    if jobs:
        progress(before, before + len(jobs))
    while waiting:
        (done,), waiting = ray.wait(waiting)
        try:
            ray.get(done)
        except ray.exceptions.RayError as error:
            failures.append(f"{jobs[done]}: {str(error).strip().splitlines()[-1]}")
        progress(before + len(jobs) - len(waiting), before + len(jobs))
    return failures


def load_finalists(folder: Path, trials: list[int], seeds: list[int]) -> list[Finalist]:
    """The finals of these trials and seeds, as far as they were trained, in the order of `trials`."""
    places = [file.parent for file in (folder / "finals").glob(f"[!.]*-*-*/{FINAL}")]
    finals = sorted(map(Final.load, places), key=lambda final: final.seed)
    of_trial = {trial: [final for final in finals if final.trial == trial and final.seed in seeds] for trial in trials}
    return [Finalist(finals=found) for found in of_trial.values() if found]


def load_default(folder: Path, recipe: str, seeds: list[int]) -> Finalist | None:
    """The finals of a recipe's default point, as far as they were trained; None where none was."""
    places = [folder / Candidate(recipe, {}).folder(seed) for seed in sorted(seeds)]
    finals = [Final.load(place) for place in places if (place / FINAL).exists()]
    return Finalist(finals=finals) if finals else None


def train_final(
    settings: TrialSettings,
    recipe: str,
    config: dict[str, Value],
    trial: int | None,
    seed: int,
    name: str,
    *,
    train_on: TrainOn = "train",
    keep: Literal["best", "last"] = "best",
    scores: Sequence[dict[str, Any]] = (),
) -> None:
    """Train one seed, keep the epoch that is best on val or the last one, test it once.

    The result is in the folder `name` of the experiment, which appears whole. The other arguments are those of `Final`.
    """
    settings.prepare_process()
    space = space_of(recipe).of(config)
    data = settings.load(space.input_variant, train_on)
    eval_variant = settings.eval_variant or space.input_variant
    if eval_variant != space.input_variant:
        data = replace(data, val=settings.load(eval_variant).val)
    shown = settings.folders[eval_variant]
    sign = 1 if settings.maximize else -1
    began = time.perf_counter()
    best, weights = None, b""
    model = None
    curves = []
    for epoch in run(recipe, space, data, epochs=settings.max_epochs, seed=seed):
        model = epoch.model
        curves.append(epoch.report)
        value = sign * epoch.report[settings.metric]
        if not epoch.diverged and (keep == "last" or best is None or value > sign * best.report[settings.metric]):
            best, weights = epoch, weights_of(model)
    if best is None or model is None:
        raise RuntimeError("diverged in its first epoch")
    if keep == "last" and best.epoch < len(curves):
        raise RuntimeError(f"diverged in epoch {len(curves)}")
    model.load_state_dict(load(weights))
    tested_on, split = data.val, "val"
    val = test = evaluate(model, data.val, len(data.classes), keep_log_probabilities=True)
    if has_test(Path(shown)):
        split = "test"
        tested_on = settings.place.believe(partial(_test_split, shown, settings.device))
        test = evaluate(model, tested_on, len(data.classes), keep_log_probabilities=True)
    seconds = time.perf_counter() - began
    positions = chosen(test)
    together = np.concatenate(list(positions.values()))
    final = {
        "recipe": recipe,
        "config": config,
        "trial": trial,
        "seed": seed,
        "epoch": best.epoch,
        "val": val.metrics if train_on == "train" else {},
        "test": test.metrics,
        "seconds": seconds,
        "classes": test.classes,
        "curves": curves,
        "scores": list(scores),
        "model": {**asdict(cost_of(model, data.shape)), "device": device_name(data.device)},
        "mixed": _mixed(recipe, data.device),
        "examples": list(map(asdict, examples(test, positions, names_of(Path(shown), split, together)))),
    }
    arrays: dict[str, NDArray[Any]] = {
        "labels": test.labels,
        "predictions": test.predictions,
        "losses": test.losses,
        "log_probabilities": _halved(test),
        "val": np.stack([val.labels, val.predictions]),
        "val_losses": val.losses,
        "val_log_probabilities": _halved(val),
        "thumbnails": thumbnails(tested_on, together),
    }
    patiently(partial(_write, settings.place.folder / name, final, weights, arrays))
    settings.place.push(name, last=FINAL)
    release(data.device)


def _halved(evaluation: Evaluation) -> NDArray[np.float16]:
    """Log-probabilities as they are kept: probabilities near 1 are as exact as before, others to three digits."""
    assert evaluation.log_probabilities is not None
    return evaluation.log_probabilities.clip(-LEAST, 0).astype(np.float16)


def _mixed(recipe: str, device: torch.device) -> bool:
    """Whether the loop that networks share trains a recipe in bfloat16."""
    if not issubclass(space_of(recipe), Training):
        return False
    from trainables._fit import gains_by_bfloat16  # late, as it brings kornia; the recipe itself has, too

    return gains_by_bfloat16(device)


def _write(place: Path, final: dict[str, Any], weights: bytes, arrays: Mapping[str, NDArray[Any]]) -> None:
    draft = place.with_name(f".{place.name}.draft")
    for left in (draft, place):  # by an attempt that died
        shutil.rmtree(left, ignore_errors=True)
    draft.mkdir(parents=True)
    (draft / "model.safetensors").write_bytes(weights)
    (draft / FINAL).write_text(json.dumps(final, indent=1))
    for name, array in arrays.items():
        np.save(draft / f"{name}.npy", array)
    draft.rename(place)


@cache
def _test_split(folder: str, device: str) -> Split:
    return load_test(Path(folder), torch.device(device))
