"""What every process that trains knows; without Ray Tune, which finals need not wait for."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from search_spaces import Variant, add_recipes
from trainables.data import PREPARED, TrainData, TrainOn, bring_store, load_train
from trainables.storage.pretrained_files import bring_weights
from trainables.storage.synced_folder import SyncedFolder
from trainables.training.iterate import release

DATA_FILES = (*PREPARED, "weights.json")
"""What training needs of a folder, images and weights themselves aside."""


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """What all trials of a search have in common.

    Attributes:
        folders: of the data, absolute, by what is shown of an image.
        device: "cpu" or "cuda".
        threads: torch's threads.
        max_epochs: epochs of a trial that is never stopped.
        metric, maximize: what is optimised on val.
        recipes_from: folders of recipes from outside.
        eval_variant: what is shown of the images of val and test; None for the same as of those of train.
        experiment: the experiment's folder, absolute.
        copied_to: URL of its copy in a bucket; None where the folder itself is seen by all machines.
        shared: folder or URL where all machines find decoded images and weights; None for a search on one machine.
    """

    folders: Mapping[Variant, str]
    experiment: str
    device: str
    threads: int
    max_epochs: int
    metric: str
    maximize: bool
    recipes_from: tuple[str, ...] = ()
    eval_variant: Variant | None = None
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
            for folder in self.folders.values():
                _bring(self.place, folder, self.shared)

    def load(self, variant: Variant, train_on: TrainOn = "train") -> TrainData:
        """The train and val splits as a variant shows them."""
        return self.place.believe(partial(load_data, self.folders[variant], self.device, train_on))


@cache
def _bring(place: SyncedFolder, folder: str, shared: str) -> None:
    """Have on this machine what training on the data of `folder` needs."""
    place.sub(os.path.relpath(folder, place.folder)).fetch(*DATA_FILES)
    bring_store(Path(folder), shared)
    bring_weights(Path(folder), shared)


data_bytes: dict[str, int] = {}
"""What all data that this process has loaded take on a device, where it has loaded any; 0 but on a GPU."""


@cache
def load_data(folder: str, device: str, train_on: TrainOn) -> TrainData:
    """The train and val splits of an experiment, kept from trial to trial."""
    data = load_train(Path(folder), torch.device(device), train_on=train_on)
    data_bytes[device] = release(data.device)
    return data
