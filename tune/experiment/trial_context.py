"""Context shared by all training processes. It does not import Ray Tune, so that finals need not wait for it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from search_spaces import Variant, add_recipes
from trainables.data import PREPARED, TrainData, TrainOn, bring_store, load_train
from trainables.storage.pretrained_files import WEIGHTS_FILE, bring_weights
from trainables.storage.synced_folder import SyncedFolder
from trainables.training.iterate import release
from tune.experiment.experiment import Experiment
from tune.experiment.input_variants import folders_of, searched_input_variants
from tune.settings.groups import HERE
from tune.settings.objective import Objective

DATA_FILES = (*PREPARED, WEIGHTS_FILE)
"""The files of a folder that training needs, apart from images and weights."""


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """Settings shared by all trials of a search.

    Attributes:
        folders: absolute folders of the data, by input variant.
        device: "cpu" or "cuda".
        threads: the number of torch threads.
        max_epochs: epochs of a trial that is never stopped.
        objective: the metric that is optimized on val, and its direction.
        recipes_from: folders of recipes from outside.
        eval_variant: the input variant of val and test; None for that of train.
        experiment: the experiment's folder, absolute.
        copied_to: URL of its copy in a bucket; None if all nodes see the folder itself.
        shared: folder or URL where all nodes find decoded images and weights; None for a search on one machine.
    """

    folders: Mapping[Variant, str]
    experiment: str
    device: str
    threads: int
    max_epochs: int
    objective: Objective
    recipes_from: tuple[str, ...] = ()
    eval_variant: Variant | None = None
    copied_to: str | None = None
    shared: str | None = None

    @classmethod
    def of(cls, experiment: Experiment, device: str, threads: int) -> "TrialContext":
        """Return the context of an experiment's trials on the resources of one."""
        settings = experiment.settings
        return cls(
            folders=folders_of(experiment, searched_input_variants(settings)),
            experiment=str(experiment.folder),
            copied_to=experiment.url,
            shared=None if settings.address == HERE else settings.out,
            device=device,
            threads=threads,
            max_epochs=settings.max_epochs,
            objective=settings.objective,
            recipes_from=settings.recipes_from,
        )

    @property
    def place(self) -> SyncedFolder:
        """The experiment's folder and its copy."""
        return SyncedFolder(Path(self.experiment), self.copied_to)

    def prepare_process(self) -> None:
        """Set up a worker's process like the driver's: threads, recipes from outside, files.

        Raises:
            InputError, OSError: this machine cannot get something that it needs.
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
        """Load the train and val splits in one input variant."""
        return self.place.believe(partial(load_data, self.folders[variant], self.device, train_on))


@cache
def _bring(place: SyncedFolder, folder: str, shared: str) -> None:
    """Bring what training on the data of `folder` needs to this machine."""
    place.sub(os.path.relpath(folder, place.folder)).fetch(*DATA_FILES)
    bring_store(Path(folder), shared)
    bring_weights(Path(folder), shared)


data_bytes: dict[str, int] = {}
"""Bytes taken on each device by all data that this process has loaded there; 0 except on a GPU."""


@cache
def load_data(folder: str, device: str, train_on: TrainOn) -> TrainData:
    """Load the train and val splits of an experiment, and keep them from trial to trial."""
    data = load_train(Path(folder), torch.device(device), train_on=train_on)
    data_bytes[device] = release(data.device)
    return data
