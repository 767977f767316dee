"""The protocol of a recipe: a generator of epochs.

A recipe trains and yields. Its caller evaluates the model on val, sends the metrics back, reports, saves and stops. So
a recipe knows nothing of trials, rungs or trackers, and can be read and run without them.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import isgeneratorfunction
from typing import Any, Protocol, cast

from torch import nn

from search_spaces import DataShape, InputError, Space, add_recipes, import_recipe, space_of
from trainables.data import TrainData
from trainables.training.metrics import Metrics

State = Mapping[str, Any]
"""The state that training continues from: tensors, numbers and strings in nested mappings and lists only."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The result that a recipe yields after each epoch.

    Attributes:
        model: maps raw uint8 images (N, C, H, W) to logits (N, classes); weights are those of this epoch.
        last: no epoch follows.
        train_loss: mean over the epoch, on augmented images and with dropout, if any.
        train_accuracy: the same of the accuracy.
        lr: the learning rate at the end of the epoch; None if the recipe does not learn by steps.
        state: returns the state to continue from, given the val metrics, without the model's own weights.
    """

    model: nn.Module
    last: bool
    train_loss: float | None = None
    train_accuracy: float | None = None
    lr: float | None = None
    state: Callable[[Metrics], State] = lambda val: {}


class Train(Protocol):
    """The signature of every recipe's `train`."""

    def __call__(
        self, space: Any, data: TrainData, *, epochs: int, state: State | None = None
    ) -> Generator[Epoch, Metrics, None]:
        """Train for `epochs` epochs in all, from the beginning or from `state`.

        `state` is the return value of `Epoch.state`, with the weights of that epoch's model under "model". Random
        numbers come from torch's global generators, which the caller seeds.
        """


@cache
def train_of(recipe: str) -> Train:
    """Return the `train` function of a recipe.

    Raises:
        InputError: there is no such recipe, its module is broken, or it has no generator function `train`.
    """
    train = _function(recipe, "train")
    if not isgeneratorfunction(train):
        raise InputError(
            f"{_file(recipe)}: train is not a generator function; let it yield an Epoch after each, as "
            "`yield from fit(...)` does"
        )
    return cast(Train, train)


@cache
def build_of(recipe: str) -> Callable[[Space, DataShape], nn.Module]:
    """Return the `build` function of a recipe: it builds the untrained model of a configuration, to load weights into.

    Raises:
        InputError: there is no such recipe, its module is broken, or it has no function `build`.
    """
    return cast(Callable[[Space, DataShape], nn.Module], _function(recipe, "build"))


def import_recipes(recipes: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Import recipes into this process, so that missing parts are reported at once.

    Args:
        recipes: their names.
        folders: of recipes from outside, made known first.

    Raises:
        InputError: a folder has another layout, or a recipe does not exist, is broken, or lacks a library.
    """
    for folder in folders:
        add_recipes(folder, "--recipes-from")
    for recipe in recipes:
        train_of(recipe)
        build_of(recipe)


def _function(recipe: str, name: str) -> object:
    space_of(recipe)
    function = getattr(import_recipe("trainables", recipe), name, None)
    if not callable(function):
        raise InputError(
            f"{_file(recipe)} has no function {name}; a recipe has build(space, shape), which returns the model, and "
            "train(space, data, *, epochs, state=None), which yields an Epoch after each"
        )
    return function


def _file(recipe: str) -> str:
    return str(import_recipe("trainables", recipe).__file__)
