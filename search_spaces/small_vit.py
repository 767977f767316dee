"""A small vision transformer: patches as tokens, pre-norm blocks of attention, a linear head."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces import FIXED, Choice, DataShape, Float, Int, Limits, Searched, Training

PATCHES = (2, 4, 7, 8, 14, 16, 28, 32)
MOST = 16
"""Upper limit of patches per side: attention costs the square of their number."""


@dataclass(frozen=True, kw_only=True)
class SmallViT(Training):
    """The space of patches, width, depth, heads, the MLP, the token the head reads, and regularization.

    Every number of heads divides every width. `mlp_ratio` is the width of a block's MLP divided by `width`. `drop_path`
    is the probability of skipping the last block in training; it falls linearly towards the first block.
    """

    lr: Annotated[float, Float(1e-4, 1e-1, log=True), Searched(Float(1e-4, 1e-2, log=True))] = 1e-3
    patch: Annotated[int, Choice(PATCHES)] = 4
    width: Annotated[int, Choice((32, 64, 96, 128, 192, 256, 384)), Searched(Choice((64, 96, 128, 192)))] = 96
    depth: Annotated[int, Int(1, 12), Searched(Int(2, 6))] = 4
    heads: Annotated[int, Choice((1, 2, 4, 8)), Searched(Choice((2, 4, 8)))] = 4
    mlp_ratio: Annotated[int, Choice((1, 2, 3, 4)), Searched(Choice((2, 4)))] = 2
    token: Annotated[str, Choice(("class", "mean"))] = "mean"
    dropout: Annotated[float, Float(0.0, 0.3)] = 0.0
    drop_path: Annotated[float, Float(0.0, 0.3), FIXED] = 0.0

    @classmethod
    def limits(cls, shape: DataShape) -> Limits:
        """Limit patches to those that divide the image into 2 to 16 per side; if none does, the rest is cut off."""
        possible = [patch for patch in PATCHES if 2 * patch <= shape.side] or [PATCHES[0]]
        fitting = [patch for patch in possible if shape.side // patch <= MOST] or possible[-1:]
        dividing = [patch for patch in fitting if shape.height % patch == 0 and shape.width % patch == 0]
        return {**super().limits(shape), "patch": Choice(tuple(dividing or fitting))}
