"""A residual network of basic blocks (He et al., 2016): a stem, stages, pooling to a grid, and a head."""

from collections.abc import Generator

from torch import Tensor, nn

from search_spaces import DataShape
from search_spaces.residual_cnn import ResidualCNN
from trainables.data import TrainData
from trainables.training import Epoch, GridPool, Metrics, State, fit, preprocess_of


class Block(nn.Module):
    """Two 3x3 convolutions added to a shortcut, which is a 1x1 convolution if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *convolution(inputs, outputs, 3, stride), nn.ReLU(), *convolution(outputs, outputs, 3, 1)
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*convolution(inputs, outputs, 1, stride))

    def forward(self, images: Tensor) -> Tensor:
        """Map float (N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up."""
        return (self.residual(images) + self.shortcut(images)).relu()  # type: ignore[no-any-return]


def build(space: ResidualCNN, shape: DataShape) -> nn.Module:
    """Build the network; each stage after the first halves the image and doubles the channels."""
    first = preprocess_of(space, shape)
    sides = [first.output.height, first.output.width]
    layers: list[nn.Module] = [first]
    if space.stem == "7x7":
        layers += [*convolution(shape.channels, space.width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
        sides = [-(-side // 4) for side in sides]
    else:
        layers += [*convolution(shape.channels, space.width, 3, 1), nn.ReLU()]
    channels = space.width
    for stage in range(space.stages):
        outputs = space.width * 2**stage
        for block in range(space.blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(Block(channels, outputs, stride))
            sides = [-(-side // stride) for side in sides]
            channels = outputs
    pool = GridPool(sides[0], sides[1], space.grid)
    layers += [pool, nn.Flatten(), nn.Dropout(space.dropout)]
    features = channels * pool.cells
    if space.hidden:
        layers += [nn.Linear(features, space.hidden), nn.ReLU(), nn.Dropout(space.head_dropout)]
        features = space.hidden
    return nn.Sequential(*layers, nn.Linear(features, shape.classes))


def convolution(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    """Return a convolution, initialized for ReLU as in He et al. (2015), and its batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(outputs)]


def train(
    space: ResidualCNN, data: TrainData, *, epochs: int, state: State | None = None
) -> Generator[Epoch, Metrics, None]:
    """Train with the shared loop."""
    yield from fit(build(space, data.shape), space, data, epochs=epochs, state=state)
