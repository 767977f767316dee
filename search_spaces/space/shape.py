"""The facts about the data that a search space may use: sizes, never images."""

from dataclasses import dataclass
from typing import Literal

Share = float | Literal["rest"]
"""The size of a split: a fraction of the images, a number of them, or the rest that the other splits leave."""


@dataclass(frozen=True, kw_only=True)
class DataShape:
    """Sizes of a data set, from which a space clamps its ranges.

    Attributes:
        samples: images in the train split.
        channels: 1 (gray) or 3 (RGB).
        height: in pixels, as stored.
        width: in pixels, as stored.
        classes: number of classes.
        mirrors: True if a mirrored image keeps its class, as far as the source knows.
        imbalance: images in the largest class divided by images in the smallest, in the train split.
    """

    samples: int
    channels: int
    height: int
    width: int
    classes: int
    imbalance: float = 1.0
    mirrors: bool = True

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        return min(self.height, self.width)

    @property
    def pixels(self) -> int:
        """The number of values in one image: channels x height x width."""
        return self.channels * self.height * self.width
