"""The replay of a trial: it is trained again from its record, to check that its figures can be reproduced."""

import math
from contextlib import closing
from dataclasses import dataclass

import torch

from search_spaces import InputError, space_of
from trainables.data import load_train
from trainables.training.iterate import run
from trainables.training.metrics import TIMINGS
from tune.experiment.environment import environment
from tune.experiment.experiment import Experiment
from tune.experiment.input_variants import folder_of, shown_to
from tune.experiment.study import SearchStudy
from tune.experiment.trial_record import record_of

REPLAY_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Deviation:
    """The figure of an epoch that differs most from the record, and its difference."""

    epoch: int
    figure: str
    difference: float


def replay(experiment: Experiment, trial: int) -> tuple[list[Deviation], list[str]]:
    """Train a trial again, and return the largest deviation of each epoch, and the differences of the environments.

    Raises:
        InputError: there is no such trial, or it has no epoch to compare with.
    """
    settings = experiment.settings
    with closing(SearchStudy.load(experiment.storage, settings.name)) as study:
        records = study.records
    record = record_of(records, trial)
    if not record.epochs:
        raise InputError(f"--trial {trial}: it has no epoch to compare with ({record.state}: {record.note})")
    latest = experiment.read("environment.json")
    environments = [*latest.get("earlier", []), {**latest, "trials": len(records)}]
    recorded = next(each for each in environments if trial < each["trials"])  # the trial's own
    gpu = recorded["device"] != "cpu" and torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    torch.set_num_threads(recorded["threads"])
    now = environment(device, recorded["threads"])
    differences = [f"{key}: {recorded[key]} then, {now[key]} now" for key in now if recorded[key] != now[key]]
    space = space_of(record.recipe).of(record.config)
    data = load_train(folder_of(experiment, shown_to(space, settings)), torch.device(device))
    deviations = []
    steps = run(record.recipe, space, data, epochs=settings.max_epochs, seed=record.seed)
    for known, step in zip(record.epochs, steps, strict=False):  # a pruned trial has fewer epochs than it could
        figures = {
            name: _difference(step.figures[name], known[name]) for name in known if name not in ("epoch", *TIMINGS)
        }
        worst = max(figures, key=lambda name: figures[name])
        deviations.append(Deviation(step.epoch, worst, figures[worst]))
    if len(deviations) < len(record.epochs):
        missing = len(deviations) + 1
        deviations.append(Deviation(missing, "the epoch", math.inf))
    return deviations, differences


def _difference(now: float, then: float) -> float:
    difference = abs(now - then)
    return difference if math.isfinite(difference) else math.inf
