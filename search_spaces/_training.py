"""What every network's space shares: how it is optimised, and how its training images are varied."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from search_spaces._shape import DataShape
from search_spaces._space import Choice, Float, Int, Space, Value, When

BALANCED_ENOUGH = 1.5
"""Below this ratio of the largest class to the smallest, balancing classes is not searched."""


@dataclass(frozen=True, kw_only=True)
class Training(Space):
    """Optimiser, schedule, batches and augmentation of a network trained from scratch."""

    optimizer: Annotated[str, Choice(("adamw", "sgd"))] = "adamw"
    lr: Annotated[float, Float(1e-4, 1e-1, log=True)] = 2e-3
    momentum: Annotated[float, Float(0.5, 0.99), When("optimizer", Choice(("sgd",)))] = 0.9
    weight_decay: Annotated[float, Float(1e-6, 1e-1, log=True)] = 1e-2
    batch_size: Annotated[int, Choice((32, 64, 128, 256))] = 64
    schedule: Annotated[str, Choice(("cosine", "constant", "plateau"))] = "cosine"
    warmup: Annotated[float, Float(0.0, 0.3), When("schedule", Choice(("cosine",)))] = 0.1
    plateau_factor: Annotated[float, Float(0.1, 0.7), When("schedule", Choice(("plateau",)))] = 0.5
    plateau_patience: Annotated[int, Int(1, 5), When("schedule", Choice(("plateau",)))] = 2
    class_weights: Annotated[str, Choice(("none", "balanced"))] = "none"
    sampling: Annotated[str, Choice(("shuffled", "balanced"))] = "shuffled"
    flip: Annotated[str, Choice(("none", "horizontal"))] = "none"
    rotation: Annotated[float, Float(0.0, 15.0)] = 5.0
    crop: Annotated[float, Float(0.0, 0.25)] = 0.05
    jitter: Annotated[float, Float(0.0, 0.4)] = 0.0

    @classmethod
    def limits(cls, shape: DataShape) -> Mapping[str, float | tuple[Value, ...]]:
        """A batch is no larger than the train split; classes are balanced only where they are not already."""
        limits: dict[str, float | tuple[Value, ...]] = {"batch_size": shape.samples}
        if shape.imbalance < BALANCED_ENOUGH:
            limits |= {"class_weights": ("none",), "sampling": ("shuffled",)}
        return limits
