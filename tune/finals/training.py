"""Full trainings with a test at the end: each recipe's best configurations, a default point, published rows."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Literal

import ray
import torch
from safetensors.torch import load

from search_spaces import Space, Training, Value, space_of
from trainables.data import TrainData, TrainOn
from trainables.inference.cost import cost_of, device_name
from trainables.training.checkpoints import weights_of
from trainables.training.evaluation import evaluate
from trainables.training.iterate import EpochResult, release, run
from tune.experiment.folder import FINAL
from tune.experiment.report_figures import ModelCost
from tune.experiment.report_json import GridScore
from tune.experiment.trial_context import TrialContext
from tune.finals.final_file import FinalRecord
from tune.finals.finalists import Candidate, Final, refit_folder
from tune.finals.testing import halved, run_test, write_tested
from tune.tuning.retries import trainer
from tune.tuning.search_context import SearchContext


@dataclass(frozen=True, kw_only=True)
class FinalJob:
    """A training that is to be tested.

    Attributes:
        recipe, config: the recipe and its configuration.
        trial, scores: as in `FinalRecord`.
        seed: of the training.
        folder: of the result inside the experiment, which appears only when complete.
        train_on: the splits to train on.
        keep: the epoch to test: the one that is best on val, or the last one.
        until: the last epoch of a training that is planned for all; None for all.
    """

    recipe: str
    config: dict[str, Value]
    trial: int | None
    seed: int
    folder: str
    train_on: TrainOn = "train"
    keep: Literal["best", "last"] = "best"
    until: int | None = None
    scores: Sequence[GridScore] = ()


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
        name: partial(
            train_final,
            settings,
            FinalJob(recipe=each.recipe, config=each.config, trial=each.trial, seed=seed, folder=name),
        )
        for name, (each, seed) in wanted.items()
    }
    return carry_out(search, jobs, label)


def run_refits(search: SearchContext, finals: Iterable[Final], label: str) -> list[str]:
    """Train finals on train and val together, each up to its best epoch on val, and test them; as `run_finals`."""
    settings, jobs = search.trial_context, {}
    for final in finals:
        name = refit_folder(final)
        job = FinalJob(
            recipe=final.recipe,
            config=final.config,
            trial=final.trial,
            seed=final.seed,
            folder=name,
            train_on="train+val",
            keep="last",
            until=final.epoch,
        )
        jobs[name] = partial(train_final, settings, job)
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


def train_final(settings: TrialContext, job: FinalJob) -> None:
    """Train one seed, keep the epoch that is best on val or the last one, test it once and write the result."""
    settings.prepare_process()
    space = space_of(job.recipe).of(job.config)
    data, shown = data_of(settings, space, job.train_on)
    began = time.perf_counter()
    objective = settings.objective

    def better(one: EpochResult, than: EpochResult) -> bool:
        return objective.is_better(one.figures[objective.metric], than=than.figures[objective.metric])

    best, weights = None, b""
    model = None
    curves = []
    for epoch in islice(run(job.recipe, space, data, epochs=settings.max_epochs, seed=job.seed), job.until):
        model = epoch.model
        curves.append(epoch.figures)
        if not epoch.diverged and (job.keep == "last" or best is None or better(epoch, best)):
            best, weights = epoch, weights_of(model)
    if best is None or model is None:
        raise RuntimeError("diverged in its first epoch")
    if job.keep == "last" and best.epoch < len(curves):
        raise RuntimeError(f"diverged in epoch {len(curves)}")
    model.load_state_dict(load(weights))
    val = halved(evaluate(model, data.val, len(data.classes)))
    result = run_test(settings, model, data, shown, val)
    record = FinalRecord(
        recipe=job.recipe,
        config=job.config,
        train_on=job.train_on,
        val=val.metrics if job.train_on == "train" else {},
        test=result.test.metrics,
        seconds=result.ended - began,
        classes=len(data.classes),
        model=ModelCost(**asdict(cost_of(model, data.shape)), device=device_name(data.device)),
        mixed=_mixed(job.recipe, data.device),
        examples=result.examples,
        trial=job.trial,
        seed=job.seed,
        epoch=best.epoch,
        curves=curves,
        scores=list(job.scores),
    )
    write_tested(settings, job.folder, record, model, result)
    release(data.device)


def data_of(settings: TrialContext, space: Space, train_on: TrainOn) -> tuple[TrainData, str]:
    """Return the data that a configuration is trained and evaluated on, and the folder of the evaluation data."""
    data = settings.load(space.input_variant, train_on)
    eval_variant = settings.eval_variant or space.input_variant
    if eval_variant != space.input_variant:
        data = replace(data, val=settings.load(eval_variant).val)
    return data, settings.folders[eval_variant]


def _mixed(recipe: str, device: torch.device) -> bool:
    """Return True if the training loop that networks share trains the recipe in bfloat16."""
    if not issubclass(space_of(recipe), Training):
        return False
    from trainables.training.loop import gains_by_bfloat16  # late, as it brings kornia, which such recipes have

    return gains_by_bfloat16(device)
