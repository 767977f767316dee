"""The inputs of a search: decoded images in each input variant, and pretrained weights."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from search_spaces import InputError
from trainables.data import Prepared, prepare_input_variants
from trainables.storage.pretrained_files import Weights, share_weights, write_weights
from trainables.storage.synced_folder import reason_of
from trainables.training.protocol import import_recipes
from tune.experiment.experiment import Experiment
from tune.experiment.input_variants import InputVariant, folder_of, input_variants_of, main_input_variant, spec_of
from tune.experiment.pretrained_weights import pretrained_weights
from tune.experiment.train_samples import keep_samples
from tune.experiment.trial_context import DATA_FILES
from tune.settings.preset import Preset
from tune.settings.settings import Settings
from tune.terminal.console import working


@dataclass(frozen=True)
class SearchInputs:
    """The inputs of a search.

    Attributes:
        data: the data in each input variant that the search or a published row uses, the main one first.
        weights: the pretrained weights that trials may begin with, by `RECIPE.MODEL`.
    """

    data: Mapping[InputVariant, Prepared]
    weights: Mapping[str, Weights]

    @classmethod
    def prepare(cls, settings: Settings, preset: Preset | None, console: Console) -> "SearchInputs":
        """Decode and split the images, and find the weights.

        Raises:
            InputError: the data, the recipes or the weights cannot be used as the settings ask.
        """
        import_recipes(settings.recipes)
        data = _prepared(settings, preset, console)
        return cls(data, pretrained_weights(settings, preset, data, console))

    @property
    def digest(self) -> str:
        """The digest of the data in the main input variant: images, labels and splits."""
        return next(iter(self.data.values())).digest

    def write(self, experiment: Experiment) -> None:
        """Write into the experiment where this machine has the inputs, with splits and samples for the report."""
        for input_variant, prepared in self.data.items():
            folder = folder_of(experiment, input_variant)
            prepared.write(folder)
            write_weights(folder, self.weights)
            experiment.place.sub(os.path.relpath(folder, experiment.folder)).push(*DATA_FILES)
        keep_samples(experiment)

    def share(self, out: str) -> None:
        """Copy the inputs to a folder or bucket that all nodes of a cluster see.

        Raises:
            InputError: the folder or bucket cannot be written.
        """
        try:
            for prepared in self.data.values():
                prepared.share(out)
            share_weights(self.weights.values(), out)
        except OSError as error:
            raise InputError(f"--out {out}: cannot be written: {reason_of(error)}") from None


def _prepared(settings: Settings, preset: Preset | None, console: Console) -> dict[InputVariant, Prepared]:
    input_variants = input_variants_of(preset, settings)
    with working(console, f"reading {settings.data}") as say:
        prepared = prepare_input_variants(
            [spec_of(settings, input_variant) for input_variant in input_variants],
            cache=Path(settings.cache),
            progress=lambda done, total: say(f"decoding {settings.data}: {done} of {total} images"),
        )
    found = dict(zip(input_variants, prepared, strict=True))
    if settings.final_train != "train" and not found[main_input_variant(settings)].card["images"]["test"]:
        raise InputError(
            f"--final-train {settings.final_train}: there is no test split, and val does not measure what was trained "
            "on it; leave test some with --split, or train finals on train"
        )
    return found
