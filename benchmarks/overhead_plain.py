"""One search by plain Ray Tune, as its documentation shows it; prints when its trials ended, and its epochs, as JSON.

    python benchmarks/overhead_plain.py TRIALS EPOCHS FOLDER [--same-work]

A trial computes one number an epoch; with --same-work it does the same as one of `overhead_ours.py`: imports torch,
loads the images, trains and evaluates the recipe `instant`.
"""

import json
import sys
import time
from pathlib import Path

import ray
import ray.tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

RECIPES = Path(__file__).resolve().parent / "recipes"


class Ends(ray.tune.Callback):
    """Notes when trials end."""

    def __init__(self) -> None:
        self.times = []

    def on_trial_complete(self, *args: object, **info: object) -> None:
        """Ray calls this, also for trials that ASHA stopped."""
        self.times.append(time.time())


def main(trials: int, epochs: int, folder: Path, *, same_work: bool) -> None:
    def number(config: dict) -> None:
        distance = abs(config["x"] - 0.3) + abs(config["y"] - 0.1) + abs(config["n"] - 50) / 100
        distance += config["kind"] == "b"
        for epoch in range(1, epochs + 1):
            ray.tune.report({"accuracy": 1 / (1 + distance / epoch)})

    def recipe(config: dict) -> None:
        import torch

        from search_spaces import add_recipes, space_of
        from trainables.data import load_train
        from trainables.training.iterate import run

        torch.set_num_threads(1)
        add_recipes(RECIPES)
        images = load_train(folder, torch.device("cpu"))
        for epoch in run("instant", space_of("instant")(**config), images, epochs=epochs, seed=0):
            ray.tune.report({"accuracy": epoch.figures["accuracy"]})

    if same_work:
        from trainables.data import DataSpec, prepare

        prepare(DataSpec(source="digits", limit=100), cache=folder / "cache").write(folder)
    ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    ends = Ends()
    tuner = ray.tune.Tuner(
        recipe if same_work else number,
        tune_config=ray.tune.TuneConfig(
            metric="accuracy",
            mode="max",
            search_alg=OptunaSearch(),
            scheduler=ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=3),
            num_samples=trials,
            max_concurrent_trials=2,
        ),
        run_config=ray.tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[ends]),
        param_space={
            "x": ray.tune.uniform(0, 1),
            "y": ray.tune.loguniform(1e-4, 1),
            "n": ray.tune.randint(1, 101),
            "kind": ray.tune.choice(["a", "b"]),
        },
    )
    began = time.time()
    results = tuner.fit()
    assert len(results) == len(ends.times) == trials
    assert not results.errors
    found = sum(result.metrics["training_iteration"] for result in results)
    print(json.dumps({"ends": [end - began for end in ends.times], "epochs": found}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).absolute(), same_work="--same-work" in sys.argv)
