"""One search by toprung, up to its finals; prints the seconds of `Tuner.fit` and the epochs as JSON.

    PYTHONPATH=benchmarks/recipes/site python benchmarks/overhead_ours.py TRIALS EPOCHS FOLDER [--profile]

`Tuner.fit` is timed by a wrapper around it, so that it is `tune.search.search` itself that runs: a study on disk, a
checkpoint and all figures of every epoch, workers that are used again. With --profile, the driver's profile is printed.
"""

import cProfile
import json
import pstats
import sys
import time
from pathlib import Path

import ray
from rich.console import Console

from tune.experiment import Experiment
from tune.search import Tuner, search
from tune.settings import make
from tune.study import SearchStudy


class SearchedError(Exception):
    """The search is over: finals and report are left out."""


def main(trials: int, epochs: int, folder: str, *, profile: bool) -> None:
    fit, profiler = Tuner.fit, cProfile.Profile()

    def timed(tuner: Tuner) -> None:
        began = time.perf_counter()
        profiler.runcall(fit, tuner) if profile else fit(tuner)
        raise SearchedError(time.perf_counter() - began)

    Tuner.fit = timed
    ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    settings = make(
        {
            "data": "digits", "limit": 100, "cache": f"{folder}/cache", "recipes": "instant", "trials": trials,
            "max_epochs": epochs, "grace_period": 1, "reduction_factor": 3, "concurrent": 2, "gpus_per_trial": 0,
            "out": folder, "name": "ours",
        }
    )  # fmt: skip
    experiment = Experiment.at(settings)
    try:
        search(experiment, settings, Console(file=sys.stderr))
    except SearchedError as searched:
        (seconds,) = searched.args
    records = SearchStudy.load(experiment.storage, settings.name).records
    assert len(records) == trials
    assert all(record.state in ("complete", "pruned") for record in records)
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(50)
    print(json.dumps({"seconds": seconds, "epochs": sum(len(record.epochs) for record in records)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), str(Path(sys.argv[3]).absolute()), profile="--profile" in sys.argv)
