"""A trained model in its folder: a recipe's winner, a published row of a preset, or a soup of finals."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from search_spaces import InputError, Variant, add_recipes, recipes
from trainables.data.data_card import read_card
from tune.experiment.folder import MODELS, ExperimentFolder
from tune.experiment.model_folders import row_folders, soup_folders, winner_folder, winner_folders
from tune.experiment.report_figures import READ, Config, ModelCost
from tune.settings.settings_file import SETTINGS, load

if TYPE_CHECKING:
    from trainables import Classifier

CARD = "metrics.json"


class ModelCard(BaseModel):
    """The facts that `metrics.json` keeps for the use of a model; its figures are for people and other programs."""

    model_config = READ

    recipe: str
    config: Config
    model: ModelCost | None = Field(default=None, description="null if it was not measured")
    variant: Variant
    data: str = Field(description="digest of the data that it was trained on")


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A model that a search leaves in EXPERIMENT/best/RECIPE, EXPERIMENT/rows/NAME or EXPERIMENT/soups/NAME.

    Attributes:
        folder: of the model.
        experiment: the experiment that the folder lies in; None for a copy that was moved elsewhere.
    """

    folder: Path
    experiment: ExperimentFolder | None

    @classmethod
    def find(cls, source: Path, recipe: str | None = None) -> "ModelFolder":
        """Find the model that a person names.

        Args:
            source: an experiment, for its winner, or the folder of a model.
            recipe: the recipe whose winner to take from an experiment; None for the winner of all.

        Raises:
            InputError: there is none.
        """
        folder = source.expanduser().absolute()
        above = ExperimentFolder(folder.parent.parent)
        inside = folder.parent.name in MODELS and above.exists
        if (folder / CARD).is_file():
            if recipe is not None:
                raise InputError(
                    f"--recipe {recipe}: {source} is one model; give its experiment to choose among recipes"
                )
            return cls(folder=folder, experiment=above if inside else None)
        if inside:
            there = (
                ", ".join(map(str, [*winner_folders(above), *row_folders(above), *soup_folders(above)])) or "none yet"
            )
            raise InputError(f"{source} is not a trained model of {above.folder}; there are: {there}")
        experiment = ExperimentFolder.open(source)
        return cls(folder=winner_folder(experiment, recipe), experiment=experiment)

    @property
    def name(self) -> str:
        """The recipe of a winner, or the name of a published row or soup."""
        return self.folder.name

    @property
    def card(self) -> ModelCard:
        """The facts about the model."""
        return ModelCard.model_validate(json.loads((self.folder / CARD).read_text(encoding="utf-8")))

    @property
    def cost(self) -> ModelCost | None:
        """The cost of the model; None if it was not measured."""
        return self.card.model

    @property
    def is_network(self) -> bool:
        """True if the model has learned weights. A kNN has none; an unmeasured model is assumed to have some."""
        cost = self.cost
        return cost is None or cost.parameters > 0

    def load(self) -> "Classifier":
        """Load the model on the CPU; a recipe that is not built in comes from the folder that the experiment used.

        Raises:
            InputError: its recipe is neither known nor in that folder.
        """
        from trainables import Classifier  # late, as it imports torch

        if self.experiment and self.card.recipe not in recipes():
            file = self.experiment.folder / SETTINGS
            for folder in load(file).get("recipes_from", ()):
                add_recipes(folder, f"{file}: recipes_from")
        return Classifier.load(self.folder)

    def data(self) -> Path:
        """Return the folder of the data in the model's input variant.

        Raises:
            InputError: the folder was moved out of its experiment, or the experiment no longer has the data.
        """
        if self.experiment is None:
            raise InputError(
                f"{self.folder} was taken away from its experiment, whose images it is checked on; give the folder "
                "inside: EXPERIMENT/best/RECIPE, EXPERIMENT/rows/NAME or EXPERIMENT/soups/NAME"
            )
        card = self.card
        for folder in (self.experiment.folder, *sorted((self.experiment.folder / "views").glob("*"))):
            data = read_card(folder)
            if (data["digest"], data["variant"]) == (card.data, card.variant):
                return folder
        raise InputError(f"{self.experiment.folder} no longer has the data of {self.name}; search it again")
