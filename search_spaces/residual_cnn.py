"""A residual network: a stem, stages of residual blocks, pooling to a grid, and a head."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces import FIXED, Choice, DataShape, Float, Int, Limits, Searched, Training, When

LARGE = 64
"""Pixels per side below which a stem that quarters the image is not searched."""


@dataclass(frozen=True, kw_only=True)
class ResidualCNN(Training):
    """The space of stem, width, stages, blocks, the grid before the head, and the head, besides the training fields.

    `width` is the width of the first stage; each further stage doubles it. `hidden` is the size of the hidden layer in
    the head, 0 for none. `dropout` comes before that layer and `head_dropout` after it.
    """

    stem: Annotated[str, Choice(("3x3", "7x7"))] = "3x3"
    stages: Annotated[int, Int(1, 4)] = 3
    blocks: Annotated[int, Int(1, 3), Searched(Int(1, 2))] = 1
    width: Annotated[int, Int(8, 128, log=True), Searched(Int(16, 64, log=True))] = 32
    grid: Annotated[int, Choice((1, 2, 4))] = 1
    hidden: Annotated[int, Choice((0, 128, 256, 512, 1024)), FIXED] = 0
    dropout: Annotated[float, Float(0.0, 0.5)] = 0.1
    head_dropout: Annotated[float, Float(0.0, 0.5), When("hidden", Choice((128, 256, 512, 1024)))] = 0.3

    @classmethod
    def limits(cls, shape: DataShape) -> Limits:
        """Limit the stages, as each one after the first halves the image, and the large stem to large images."""
        limits: dict[str, float | Choice | tuple[str, ...]] = {"stages": max(1, shape.side.bit_length() - 1)}
        if shape.side < LARGE:
            limits["stem"] = ("3x3",)
        return {**super().limits(shape), **limits}
