"""A plain convolutional network: stages of convolution, norm and pooling, then a linear head."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces import Choice, DataShape, Float, Int, Limits, Training


@dataclass(frozen=True, kw_only=True)
class PlainCNN(Training):
    """The space of stages, width, kernel, norm, pooling and dropout, in addition to the training fields."""

    stages: Annotated[int, Int(1, 4)] = 2
    convs: Annotated[int, Int(1, 2)] = 2
    width: Annotated[int, Int(8, 64, log=True)] = 32
    kernel: Annotated[int, Choice((3, 5))] = 3
    norm: Annotated[str, Choice(("batch", "none"))] = "batch"
    pool: Annotated[str, Choice(("max", "average"))] = "max"
    dropout: Annotated[float, Float(0.0, 0.5)] = 0.1

    @classmethod
    def limits(cls, shape: DataShape) -> Limits:
        """Limit the stages to as many as the image can be halved, and the kernel to the image's side."""
        return {**super().limits(shape), "stages": max(1, shape.side.bit_length() - 1), "kernel": shape.side}
