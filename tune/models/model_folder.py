"""A trained model in its folder: a recipe's winner, a row of a preset, or a soup of finals."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces import InputError, add_recipes, recipes
from tune.experiment.folder import MODELS, Experiment
from tune.settings.settings import SETTINGS, load

if TYPE_CHECKING:
    from trainables import Classifier

CARD = "metrics.json"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model that a search leaves, in EXPERIMENT/best/RECIPE, EXPERIMENT/rows/NAME or EXPERIMENT/soups/NAME.

    Attributes:
        folder: the model's.
        experiment: the one that the folder lies in; None for a copy that was taken away from there.
    """

    folder: Path
    experiment: Experiment | None

    @classmethod
    def find(cls, source: Path, recipe: str | None = None) -> "Trained":
        """The model that a person means.

        Args:
            source: an experiment, for its winner, or the folder of a model.
            recipe: whose winner of an experiment; None for the winner of all.

        Raises:
            InputError: there is none.
        """
        folder = source.expanduser().absolute()
        above = Experiment(folder.parent.parent)
        inside = folder.parent.name in MODELS and above.exists
        if (folder / CARD).is_file():
            if recipe is not None:
                raise InputError(
                    f"--recipe {recipe}: {source} is one model; give its experiment to choose among recipes"
                )
            return cls(folder=folder, experiment=above if inside else None)
        if inside:
            there = ", ".join(map(str, [*above.winners, *above.rows, *above.soups])) or "none yet"
            raise InputError(f"{source} is not a trained model of {above.folder}; there are: {there}")
        experiment = Experiment.open(source)
        return cls(folder=experiment.best(recipe), experiment=experiment)

    @property
    def name(self) -> str:
        """The recipe of a winner; the name of a row or soup."""
        return self.folder.name

    @property
    def card(self) -> dict[str, Any]:
        """What was trained on what, and its figures."""
        card: dict[str, Any] = json.loads((self.folder / CARD).read_text(encoding="utf-8"))
        return card

    @property
    def is_network(self) -> bool:
        """Whether it has learned weights; a kNN has none, and what was not measured is thought to have some."""
        cost = self.card["model"]
        return cost is None or cost["parameters"] > 0

    def load(self) -> "Classifier":
        """The model itself, on the CPU; a recipe from outside comes from where the experiment had it.

        Raises:
            InputError: its recipe is not known, and not where it was.
        """
        from trainables import Classifier  # late, as it brings torch

        if self.experiment and self.card["recipe"] not in recipes():
            file = self.experiment.folder / SETTINGS
            for folder in load(file).get("recipes_from", ()):
                add_recipes(folder, f"{file}: recipes_from")
        return Classifier.load(self.folder)

    def data(self) -> Path:
        """The folder of the data as the model was shown them.

        Raises:
            InputError: the folder was taken away from its experiment.
        """
        if self.experiment is None:
            raise InputError(
                f"{self.folder} was taken away from its experiment, whose images it is checked on; give the folder "
                "inside: EXPERIMENT/best/RECIPE, EXPERIMENT/rows/NAME or EXPERIMENT/soups/NAME"
            )
        card = self.card
        for folder in (self.experiment.folder, *sorted((self.experiment.folder / "views").glob("*"))):
            data = Experiment(folder).read("data.json")
            if (data["digest"], data["variant"]) == (card["data"], card["variant"]):
                return folder
        raise InputError(f"{self.experiment.folder} no longer has the data of {self.name}; search it again")
