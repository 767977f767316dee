"""What every process that trains knows; without Ray Tune, which finals need not wait for."""

import os
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from search_spaces import add_recipes
from trainables._data import PREPARED, TrainData, TrainOn, bring_store, load_train
from trainables._run import release
from trainables._synced import SyncedFolder
from trainables._weights import bring_weights

DATA_FILES = (*PREPARED, "weights.json")
"""What training needs of a folder, images and weights themselves aside."""


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """What all trials of a search have in common.

    Attributes:
        folder: of the data, absolute: the experiment's, or one of a view of its own in it.
        device: "cpu" or "cuda".
        threads: torch's threads.
        max_epochs: epochs of a trial that is never stopped.
        metric, maximize: what is optimised on val.
        recipes_from: folders of recipes from outside.
        evaluated_in: the folder of the same data in another view, whose val and test stand for the own ones.
        experiment: the experiment's folder, absolute.
        copied_to: URL of its copy in a bucket; None where the folder itself is seen by all machines.
        shared: folder or URL where all machines find decoded images and weights; None for a search on one machine.
    """

    folder: str
    experiment: str
    device: str
    threads: int
    max_epochs: int
    metric: str
    maximize: bool
    recipes_from: tuple[str, ...] = ()
    evaluated_in: str | None = None
    copied_to: str | None = None
    shared: str | None = None

    @property
    def place(self) -> SyncedFolder:
        """The experiment's folder, with its copy."""
        return SyncedFolder(Path(self.experiment), self.copied_to)

    def prepare_process(self) -> None:
        """Make what trains in a worker's process as it was in the driver's: threads, recipes from outside, files.

        Raises:
            InputError, OSError: something is not to be had on this machine.
        """
        torch.set_num_threads(self.threads)
        self.place.believe(self._prepare)

    def _prepare(self) -> None:
        for folder in self.recipes_from:
            add_recipes(folder, "--recipes-from")
        if self.shared is not None:
            for folder in {self.folder, self.evaluated_in or self.folder}:
                _bring(self.place, folder, self.shared)

    def load(self, folder: str | None = None, train_on: TrainOn = "train") -> TrainData:
        """The train and val splits of `folder`, or of one's own."""
        data, _ = self.place.believe(partial(load_data, folder or self.folder, self.device, train_on))
        return data


@cache
def _bring(place: SyncedFolder, folder: str, shared: str) -> None:
    """Have on this machine what training on the data of `folder` needs."""
    place.sub(os.path.relpath(folder, place.folder)).fetch(*DATA_FILES)
    bring_store(Path(folder), shared)
    bring_weights(Path(folder), shared)


@cache
def load_data(folder: str, device: str, train_on: TrainOn = "train") -> tuple[TrainData, int]:
    """The train and val splits of an experiment, kept from trial to trial, and the bytes they take on a GPU."""
    data = load_train(Path(folder), torch.device(device), train_on=train_on)
    return data, release(data.device)
