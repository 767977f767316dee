"""One search by toprung, up to its finals; prints when its trials ended, and its epochs, as JSON.

    python benchmarks/overhead_ours.py TRIALS EPOCHS FOLDER [--profile] [--wandb]

It is `tune.search.search` itself that runs: a study on disk, a checkpoint and all figures of every epoch, workers that
are used again. `Tuner.fit` is wrapped to time its start and to exit after it. Trials end when the study says so.
With --profile the driver's profile is printed first. With --wandb it is shown in W&B, wherever that is.
"""

import cProfile
import json
import pstats
import sys
from datetime import datetime
from pathlib import Path

import optuna
import ray
from rich.console import Console

from tune.experiment.experiment import Experiment
from tune.search import search
from tune.settings.settings import make
from tune.tuning.tuner import Tuner

RECIPES = Path(__file__).resolve().parent / "recipes"


class SearchedError(Exception):
    """The search is over: finals and report are left out."""


def main(trials: int, epochs: int, folder: str, *, profile: bool, wandb: bool) -> None:
    fit, profiler = Tuner.fit, cProfile.Profile()

    def fit_only(tuner: Tuner) -> None:
        began = datetime.now()
        profiler.runcall(fit, tuner) if profile else fit(tuner)
        raise SearchedError(began)

    Tuner.fit = fit_only
    ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    settings = make(
        {
            "data": "digits", "limit": 100, "cache": f"{folder}/cache", "recipes": str(RECIPES), "trials": trials,
            "max_epochs": epochs, "grace_period": 1, "reduction_factor": 3, "concurrent": 2, "gpus_per_trial": 0,
            "out": folder, "name": "ours", "wandb": "online" if wandb else "off",
        }
    )  # fmt: skip
    experiment = Experiment.at(settings)
    try:
        search(experiment, Console(file=sys.stderr))
    except SearchedError as searched:
        (began,) = searched.args
    if profile:
        statistics = pstats.Stats(profiler).strip_dirs()
        statistics.sort_stats("cumulative").print_stats(60)
        statistics.sort_stats("tottime").print_stats(30)

    study = optuna.load_study(study_name=settings.name, storage=experiment.storage)
    found = study.get_trials(states=(optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED))
    assert len(found) == trials
    ends = [(trial.datetime_complete - began).total_seconds() for trial in found]
    print(json.dumps({"ends": ends, "epochs": sum(len(trial.intermediate_values) for trial in found)}))


if __name__ == "__main__":
    flags = {"profile": "--profile" in sys.argv, "wandb": "--wandb" in sys.argv}
    main(int(sys.argv[1]), int(sys.argv[2]), str(Path(sys.argv[3]).absolute()), **flags)
