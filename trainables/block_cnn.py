"""A convolutional network built from a list of blocks, each with its own channels, kernel and pooling."""

from collections.abc import Generator

from torch import nn

from search_spaces import DataShape
from search_spaces.block_cnn import BlockCNN
from trainables.data import TrainData
from trainables.training import Epoch, GridPool, Metrics, State, fit, preprocess_of


def build(space: BlockCNN, shape: DataShape) -> nn.Module:
    """Build blocks of convolutions, ReLU and pooling, then hidden linear layers."""
    first = preprocess_of(space, shape)
    layers: list[nn.Module] = [first]
    inputs, height, width = shape.channels, first.output.height, first.output.width
    for stage in range(1, space.stages + 1):
        channels = [getattr(space, f"first_{stage}")] if space.convs == 2 else []
        for outputs in [*channels, getattr(space, f"channels_{stage}")]:
            kernel = getattr(space, f"kernel_{stage}")
            layers.append(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=space.norm == "none"))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()] if space.norm == "batch" else [nn.ReLU()]
            inputs = outputs
        pool = getattr(space, f"pool_{stage}")
        if pool != "none" and min(height, width) > 1:
            layers.append(nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))
            height, width = height // 2, width // 2
    grid = GridPool(height, width, space.grid)
    layers += [grid, nn.Flatten()]
    features = inputs * grid.cells
    for hidden in (space.hidden_1, space.hidden_2)[: space.layers]:
        layers += [nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(space.dropout)]
        features = hidden
    return nn.Sequential(*layers, nn.Linear(features, shape.classes))


def train(
    space: BlockCNN, data: TrainData, *, epochs: int, state: State | None = None
) -> Generator[Epoch, Metrics, None]:
    """Train with the shared loop."""
    yield from fit(build(space, data.shape), space, data, epochs=epochs, state=state)
