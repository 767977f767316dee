"""A plain convolutional network: stages of convolution, norm and pooling, then a linear head."""

from collections.abc import Generator

from torch import nn

from search_spaces import DataShape
from search_spaces.plain_cnn import PlainCNN
from trainables.data import TrainData
from trainables.training import Epoch, Metrics, State, fit, preprocess_of

MAX_CELLS_PER_SIDE = 4
"""Largest number of cells per side before the head, so that large images do not need a huge linear layer."""


def build(space: PlainCNN, shape: DataShape) -> nn.Module:
    """Build stages that each halve the image and double the channels, and a linear head."""
    first = preprocess_of(space, shape)
    layers: list[nn.Module] = [first]
    inputs, height, width = shape.channels, first.output.height, first.output.width
    for stage in range(space.stages):
        outputs = space.width * 2**stage
        for _ in range(space.convs):
            conv = nn.Conv2d(inputs, outputs, space.kernel, padding="same", bias=space.norm == "none")
            layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()] if space.norm == "batch" else [conv, nn.ReLU()]
            inputs = outputs
        if min(height, width) > 1:
            layers.append(nn.MaxPool2d(2) if space.pool == "max" else nn.AvgPool2d(2))
            height, width = height // 2, width // 2
    cell = -(-height // MAX_CELLS_PER_SIDE), -(-width // MAX_CELLS_PER_SIDE)
    cells = (height // cell[0]) * (width // cell[1])
    head = [
        nn.AvgPool2d(cell),
        nn.Flatten(),
        nn.Dropout(space.dropout),
        nn.Linear(inputs * cells, shape.classes),
    ]
    return nn.Sequential(*layers, *head)


def train(
    space: PlainCNN, data: TrainData, *, epochs: int, state: State | None = None
) -> Generator[Epoch, Metrics, None]:
    """Train with the shared loop."""
    yield from fit(build(space, data.shape), space, data, epochs=epochs, state=state)
