"""What every process that trains knows; without Ray Tune, which finals need not wait for."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from search_spaces import add_recipes
from trainables._data import TrainData, TrainOn, load_train
from trainables._run import release


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """What all trials of a search have in common.

    Attributes:
        folder: the experiment's folder, absolute.
        device: "cpu" or "cuda".
        threads: torch's threads.
        max_epochs: epochs of a trial that is never stopped.
        metric, maximize: what is optimised on val.
        recipes_from: folders of recipes from outside.
        evaluated_in: the folder of the same data in another view, whose val and test stand for the own ones.
    """

    folder: str
    device: str
    threads: int
    max_epochs: int
    metric: str
    maximize: bool
    recipes_from: tuple[str, ...] = ()
    evaluated_in: str | None = None

    def prepare_process(self) -> None:
        """Make what trains in a worker's process as it was in the driver's: threads, and recipes from outside."""
        torch.set_num_threads(self.threads)
        for folder in self.recipes_from:
            add_recipes(folder, "--recipes-from")


@cache
def load_data(folder: str, device: str, train_on: TrainOn = "train") -> tuple[TrainData, int]:
    """The train and val splits of an experiment, kept from trial to trial, and the bytes they take on a GPU."""
    data = load_train(Path(folder), torch.device(device), train_on=train_on)
    return data, release(data.device)
