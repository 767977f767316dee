"""A convolutional network built from a list of blocks, each with its own channels, kernel and pooling."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces import FIXED, Choice, DataShape, Float, Int, Limits, Searched, Training, When

TWO_CONVS = When("convs", Choice((2,)))
FROM_2 = When("stages", Choice((2, 3, 4)))
FROM_3 = When("stages", Choice((3, 4)))
FROM_4 = When("stages", Choice((4,)))
CHANNELS = Int(8, 512, log=True)
SEARCHED_CHANNELS = Searched(Int(16, 256, log=True))
KERNEL = Choice((3, 5, 7))
SEARCHED_KERNEL = Searched(Choice((3, 5)))
POOL = Choice(("max", "average", "none"))
SEARCHED_POOL = Searched(Choice(("max", "average")))


@dataclass(frozen=True, kw_only=True)
class BlockCNN(Training):
    """The space of each block, the head's hidden layers and the dropout, in addition to the training fields.

    Block i has `convs` convolutions with kernel size `kernel_i`. The last one has `channels_i` outputs; if there are
    two, the first has `first_i`. The head sees at most `grid` cells per side.
    """

    stages: Annotated[int, Int(1, 4)] = 3
    convs: Annotated[int, Choice((1, 2)), FIXED] = 1
    channels_1: Annotated[int, CHANNELS, SEARCHED_CHANNELS] = 32
    channels_2: Annotated[int, CHANNELS, SEARCHED_CHANNELS, FROM_2] = 64
    channels_3: Annotated[int, CHANNELS, SEARCHED_CHANNELS, FROM_3] = 128
    channels_4: Annotated[int, CHANNELS, SEARCHED_CHANNELS, FROM_4] = 256
    first_1: Annotated[int, CHANNELS, SEARCHED_CHANNELS, TWO_CONVS] = 32
    first_2: Annotated[int, CHANNELS, SEARCHED_CHANNELS, TWO_CONVS, FROM_2] = 64
    first_3: Annotated[int, CHANNELS, SEARCHED_CHANNELS, TWO_CONVS, FROM_3] = 128
    first_4: Annotated[int, CHANNELS, SEARCHED_CHANNELS, TWO_CONVS, FROM_4] = 256
    kernel_1: Annotated[int, KERNEL, SEARCHED_KERNEL] = 3
    kernel_2: Annotated[int, KERNEL, SEARCHED_KERNEL, FROM_2] = 3
    kernel_3: Annotated[int, KERNEL, SEARCHED_KERNEL, FROM_3] = 3
    kernel_4: Annotated[int, KERNEL, SEARCHED_KERNEL, FROM_4] = 3
    pool_1: Annotated[str, POOL, SEARCHED_POOL] = "max"
    pool_2: Annotated[str, POOL, SEARCHED_POOL, FROM_2] = "max"
    pool_3: Annotated[str, POOL, SEARCHED_POOL, FROM_3] = "max"
    pool_4: Annotated[str, POOL, SEARCHED_POOL, FROM_4] = "max"
    norm: Annotated[str, Choice(("batch", "none"))] = "batch"
    grid: Annotated[int, Int(1, 32), FIXED] = 4
    layers: Annotated[int, Choice((1, 2)), FIXED] = 1
    hidden_1: Annotated[int, Int(32, 1024, log=True), Searched(Int(64, 512, log=True))] = 256
    hidden_2: Annotated[int, Int(32, 1024, log=True), When("layers", Choice((2,)))] = 256
    dropout: Annotated[float, Float(0.0, 0.6)] = 0.2

    @classmethod
    def limits(cls, shape: DataShape) -> Limits:
        """Limit the blocks to as many as the image can be halved, and each kernel to the image's side."""
        kernels = {f"kernel_{stage}": shape.side for stage in range(1, 5)}
        return {**super().limits(shape), "stages": max(1, shape.side.bit_length() - 1), **kernels}
