"""Full trainings with a test at the end: each recipe's best configurations, a default point, published rows.

This is the only module that evaluates on the test split.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import nn

from search_spaces import Space, Training, Value, space_of
from trainables.data import Split, TrainData, TrainOn, has_test, load_test, names_of
from trainables.data.thumbnails import thumbnails
from trainables.inference.cost import cost_of, device_name
from trainables.storage.synced_folder import patiently
from trainables.training.checkpoints import weights_of
from trainables.training.evaluation import evaluate
from trainables.training.iterate import EpochResult, release, run
from trainables.training.metrics import Evaluation
from tune.experiment.folder import FINAL
from tune.experiment.trial_context import TrialContext
from tune.finals.finalists import Candidate, Final, refit_folder
from tune.finals.test_samples import chosen, examples
from tune.tuning.retries import trainer
from tune.tuning.search_context import SearchContext

MAX_LOG_MAGNITUDE = 60000.0
"""The largest magnitude of a log-probability that is kept, as float16 holds no more than 65,504."""


def run_finals(search: SearchContext, candidates: Sequence[Candidate], label: str) -> list[str]:
    """Train and test every missing seed of each candidate, side by side on the cluster.

    Returns a line for each seed that failed; a resumed search retries those. `label` says what is counted.
    """
    settings, seeds = search.trial_context, search.settings.seeds_of_finals
    wanted = {
        candidate.folder(seed): (candidate, seed)
        for candidate in candidates
        for seed in (seeds[:1] if space_of(candidate.recipe).deterministic else seeds)
    }
    jobs = {
        name: partial(train_final, settings, each.recipe, each.config, each.trial, seed, name)
        for name, (each, seed) in wanted.items()
    }
    return carry_out(search, jobs, label)


def run_refits(search: SearchContext, finals: Iterable[Final], label: str) -> list[str]:
    """Train finals on train and val together, each up to its best epoch on val, and test them; as `run_finals`."""
    settings, jobs = search.trial_context, {}
    for final in finals:
        name = refit_folder(final)
        own = (final.recipe, final.config, final.trial, final.seed, name)
        jobs[name] = partial(train_final, settings, *own, train_on="train+val", keep="last", until=final.epoch)
    return carry_out(search, jobs, label)


def carry_out(search: SearchContext, jobs: Mapping[str, Callable[[], None]], label: str) -> list[str]:
    """Run the jobs that have no result yet, side by side on the cluster, and return a line for each that failed.

    Args:
        search: the search, for places and resources.
        jobs: by the folder of the experiment that appears when the job is done, such as finals/NAME.
        label: what is counted while they run.
    """
    place, waiting = search.experiment.place, {}
    train = trainer(search.resources.cpus, search.resources.gpus)
    for name, job in jobs.items():
        if not (place.folder / name / FINAL).exists():
            kind, _, rest = name.partition("/")
            waiting[train.remote(place, name, job)] = f"{kind.removesuffix('s')} {rest}"
    with search.counting(label) as progress:
        failures = wait_for(waiting, progress, before=len(jobs) - len(waiting))
    for kind in {name.partition("/")[0] for name in jobs}:
        place.pull(kind, last=FINAL)
    return failures


def wait_for(jobs: Mapping[ray.ObjectRef[Any], str], progress: Callable[[int, int], None], *, before: int) -> list[str]:
    """Wait for all of `jobs`, which maps them to names, and return a line for each that failed.

    `before` is the number of jobs done earlier, for `progress`.
    """
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


def train_final(
    settings: TrialContext,
    recipe: str,
    config: dict[str, Value],
    trial: int | None,
    seed: int,
    name: str,
    *,
    train_on: TrainOn = "train",
    keep: Literal["best", "last"] = "best",
    until: int | None = None,
    scores: Sequence[dict[str, Any]] = (),
) -> None:
    """Train one seed, keep the epoch that is best on val or the last one, and test it once.

    The result is written to the folder `name` of the experiment, which appears only when complete. The training is
    planned for all epochs, but stops after the epoch `until`. The other arguments are those of `Final`.
    """
    settings.prepare_process()
    space = space_of(recipe).of(config)
    data, shown = data_of(settings, space, train_on)
    began = time.perf_counter()
    objective = settings.objective

    def better(one: EpochResult, than: EpochResult) -> bool:
        return objective.is_better(one.figures[objective.metric], than=than.figures[objective.metric])

    best, weights = None, b""
    model = None
    curves = []
    for epoch in islice(run(recipe, space, data, epochs=settings.max_epochs, seed=seed), until):
        model = epoch.model
        curves.append(epoch.figures)
        if not epoch.diverged and (keep == "last" or best is None or better(epoch, best)):
            best, weights = epoch, weights_of(model)
    if best is None or model is None:
        raise RuntimeError("diverged in its first epoch")
    if keep == "last" and best.epoch < len(curves):
        raise RuntimeError(f"diverged in epoch {len(curves)}")
    model.load_state_dict(load(weights))
    val = halved(evaluate(model, data.val, len(data.classes)))
    facts = {
        "recipe": recipe,
        "config": config,
        "train_on": train_on,
        "trial": trial,
        "seed": seed,
        "epoch": best.epoch,
        "val": val.metrics if train_on == "train" else {},
        "curves": curves,
        "scores": list(scores),
        "mixed": _mixed(recipe, data.device),
    }
    conclude(settings, name, model, data, shown, val, facts, began=began)
    release(data.device)


def data_of(settings: TrialContext, space: Space, train_on: TrainOn) -> tuple[TrainData, str]:
    """Return the data that a configuration is trained and evaluated on, and the folder of the evaluation data."""
    data = settings.load(space.input_variant, train_on)
    eval_variant = settings.eval_variant or space.input_variant
    if eval_variant != space.input_variant:
        data = replace(data, val=settings.load(eval_variant).val)
    return data, settings.folders[eval_variant]


def conclude(
    settings: TrialContext,
    name: str,
    model: nn.Module,
    data: TrainData,
    shown: str,
    val: Evaluation,
    facts: Mapping[str, Any],
    *,
    began: float,
) -> None:
    """Test a model once, and write it with its results on val and test to the folder `name` of the experiment.

    Args:
        settings: the trial context.
        name: the folder, which appears only when complete.
        model: with its weights, on its device.
        data: as returned by `data_of`.
        shown: the folder of the data that it is evaluated on.
        val: the evaluation on val to keep, `halved`; without a test split, it is also that of test.
        facts: the other facts to keep about the model.
        began: the start, by `time.perf_counter`.
    """
    tested_on, split, test = data.val, "val", val
    if has_test(Path(shown)):
        split = "test"
        tested_on = settings.place.believe(partial(_test_split, shown, settings.device))
        test = halved(evaluate(model, tested_on, len(data.classes)))
    seconds = time.perf_counter() - began
    positions = chosen(test)
    together = np.concatenate(list(positions.values()))
    final = {
        "model": {**asdict(cost_of(model, data.shape)), "device": device_name(data.device)},
        **facts,
        "test": test.metrics,
        "seconds": seconds,
        "classes": test.classes,
        "examples": list(map(asdict, examples(test, positions, names_of(Path(shown), split, together)))),
    }
    arrays: dict[str, NDArray[Any]] = {
        "labels": test.labels,
        "predictions": test.predictions,
        "losses": test.losses,
        "log_probabilities": test.log_probabilities,
        "val": np.stack([val.labels, val.predictions]),
        "val_losses": val.losses,
        "val_log_probabilities": val.log_probabilities,
        "thumbnails": thumbnails(tested_on, together),
    }
    patiently(partial(_write, settings.place.folder / name, final, weights_of(model), arrays))
    settings.place.push(name, last=FINAL)


def halved(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation as it is kept, so that all figures are of what is kept: with log-probabilities as float16.

    Probabilities near 1 stay as exact as before, others to three digits.
    """
    return replace(
        evaluation, log_probabilities=evaluation.log_probabilities.clip(-MAX_LOG_MAGNITUDE, 0).astype(np.float16)
    )


def _mixed(recipe: str, device: torch.device) -> bool:
    """Return True if the training loop that networks share trains the recipe in bfloat16."""
    if not issubclass(space_of(recipe), Training):
        return False
    from trainables.training.loop import gains_by_bfloat16  # late, as it brings kornia, which such recipes have

    return gains_by_bfloat16(device)


def _write(place: Path, final: dict[str, Any], weights: bytes, arrays: Mapping[str, NDArray[Any]]) -> None:
    draft = place.with_name(f".{place.name}.draft")
    for left in (draft, place):  # leftovers of a try that died
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
