"""A multi-layer perceptron on pixels."""

from collections.abc import Generator

from torch import nn

from search_spaces import DataShape
from search_spaces.mlp import MLP
from trainables.data import TrainData
from trainables.training import Epoch, Metrics, State, fit, preprocess_of


def build(space: MLP, shape: DataShape) -> nn.Module:
    """Build flattened pixels, `depth` hidden layers of `width` with ReLU, and a linear head."""
    first = preprocess_of(space, shape)
    layers: list[nn.Module] = [first, nn.Flatten()]
    inputs = first.output.pixels
    for _ in range(space.depth):
        layers.append(nn.Linear(inputs, space.width, bias=space.norm == "none"))
        if space.norm == "batch":
            layers.append(nn.BatchNorm1d(space.width))
        layers += [nn.ReLU(), nn.Dropout(space.dropout)]
        inputs = space.width
    return nn.Sequential(*layers, nn.Linear(inputs, shape.classes))


def train(space: MLP, data: TrainData, *, epochs: int, state: State | None = None) -> Generator[Epoch, Metrics, None]:
    """Train with the shared loop."""
    yield from fit(build(space, data.shape), space, data, epochs=epochs, state=state)
