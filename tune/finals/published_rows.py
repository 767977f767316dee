"""The published rows of a preset, each trained by its own protocol as it was published, and tested once."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from search_spaces import Domains, Space, space_of
from trainables.training.iterate import run
from tune.experiment.experiment import Experiment
from tune.experiment.folder import FINAL
from tune.experiment.input_variants import folders_of
from tune.experiment.planned_rows import PlannedRow
from tune.experiment.report_json import GridScore
from tune.experiment.trial_context import TrialContext
from tune.finals.finalists import Final
from tune.finals.training import FinalJob, train_final, wait_for
from tune.tuning.retries import trainer
from tune.tuning.search_context import SearchContext


def result_of(row: PlannedRow, experiment: Experiment) -> Final | None:
    """Return the final of a published row, or None if it is not trained yet."""
    place = experiment.folder / row.folder
    return Final.load(place) if (place / FINAL).exists() else None


def run_rows(search: SearchContext, rows: list[PlannedRow]) -> list[str]:
    """Train and test every published row that has no result yet, side by side on the cluster.

    Returns a line for each row that failed; a resumed search retries those.
    """
    train = trainer(search.resources.cpus, search.resources.gpus)
    experiment, seed, context = search.experiment, search.settings.seed, search.trial_context
    jobs = {}
    for row in rows:
        if result_of(row, experiment) is None:
            own = replace(
                context,
                folders=folders_of(experiment, row.input_variants),
                eval_variant=row.eval_variant,
                max_epochs=row.epochs,
            )
            compared = len(row.candidates) if len(row.candidates) > 1 else 0
            scores = [
                train.remote(own.place, score_of(row, number), cross_validate, own, row, number, seed)
                for number in range(compared)
            ]
            jobs[train.remote(own.place, row.folder, train_row, own, row, seed, *scores)] = f"row {row.name}"
    with search.counting("published rows trained") as progress:
        failures = wait_for(jobs, progress, before=len(rows) - len(jobs))
    experiment.place.pull("rows", last=FINAL)
    return failures


def train_row(settings: TrialContext, row: PlannedRow, seed: int, *scores: dict[str, float]) -> None:
    """Train a published row's configuration, or the one that scored best, for all its epochs, and test the last.

    `scores` are those of `cross_validate`, in the order of the candidates.
    """
    best = int(np.argmax([score["accuracy"] for score in scores])) if scores else 0
    job = FinalJob(
        recipe=row.row.recipe,
        config=row.candidates[best],
        trial=None,
        seed=seed,
        folder=row.folder,
        train_on=row.row.train_on,
        keep="last",
        scores=[GridScore(config=c, **s) for c, s in zip(row.candidates, scores, strict=bool(scores))],
    )
    train_final(settings, job)


def score_of(row: PlannedRow, number: int) -> str:
    """Return the file that keeps the score of a published row's candidate."""
    return f"rows/.{row.name}.scores/{number}.json"


def cross_validate(settings: TrialContext, row: PlannedRow, number: int, seed: int) -> dict[str, float]:
    """Return the mean accuracy over stratified folds and the seconds it took, as scikit-learn's `GridSearchCV` scores.

    `number` is that of the candidate. The result is kept in a file, from which a resumed search takes it.
    """
    name = score_of(row, number)
    if kept := settings.place.read(name):
        found: dict[str, float] = json.loads(kept)
        return found
    began = time.perf_counter()
    settings.prepare_process()
    space = space_of(row.row.recipe).of(row.candidates[number])
    data = settings.load(space.input_variant, row.row.train_on)
    accuracies = []
    for fold in data.folds(row.row.folds):
        *_, last = run(row.row.recipe, space, fold, epochs=settings.max_epochs, seed=seed)
        accuracies.append(last.val.metrics["accuracy"])
    score = {"accuracy": float(np.mean(accuracies)), "seconds": time.perf_counter() - began}
    settings.place.write(name, json.dumps(score))
    return score


def starting_points(
    experiment: Experiment, rows: list[PlannedRow], domains: Mapping[str, Domains]
) -> dict[str, list[Space]]:
    """Return the configurations of published rows that were run, by recipe, moved into the searched domains."""
    points: dict[str, list[Space]] = {recipe: [] for recipe in domains}
    for row in rows:
        result = result_of(row, experiment)
        if result is not None:
            points[result.recipe].append(space_of(result.recipe).of(result.config).within(domains[result.recipe]))
    return points
