"""Fine-tuning: a new head on a pretrained network, whose first stages may stay frozen."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces import DataShape, InputError
from search_spaces.shared.fine_tuning import FineTuning
from trainables.data import TrainData
from trainables.training.loop import fit
from trainables.training.metrics import Metrics
from trainables.training.preprocess import Preprocess, window_of
from trainables.training.protocol import Epoch, State

NetworkOf = Callable[[int], nn.Module]
"""A function that builds the untrained network for a number of classes; its logits are (N, classes)."""

CONTAINERS = (
    "blocks",
    "body",
    "dense_stages",
    "features",
    "layers",
    "levels",
    "model",
    "network",
    "stages",
    "transformers",
    "trunk_output",
)
"""Attribute names under which networks keep their stages in sequence.

In transformers, `encoder` holds such a container.
"""


class Standardize(Preprocess):
    """Preprocessing to the input of a pretrained network: its size, three channels, its mean and standard deviation.

    Args:
        space: has the window of the stored images, the network's input size, and the normalization.
        shape: sizes of the stored images.
        mean, std: of each channel, in 0..1, from the network's pretraining.
        mode: of resizing, bilinear or bicubic.
    """

    def __init__(
        self, space: FineTuning, shape: DataShape, mean: Sequence[float], std: Sequence[float], mode: str
    ) -> None:
        super().__init__(replace(shape, channels=3), window_of(space, shape), space.normalize)
        self.size, self.mode = (space.resolution, space.resolution), mode
        if space.normalize == "network":
            self.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
            self.std.copy_(torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (N, 1 or 3, H, W), or float in the same 0..255, to float (N, 3, size, size)."""
        pixels = self.cut(images).float() / 255
        if tuple(pixels.shape[-2:]) != self.size:
            pixels = F.interpolate(pixels, self.size, mode=self.mode, antialias=True)
        return (pixels.expand(-1, 3, -1, -1) - self.mean) / self.std


class FineTuned(nn.Module):
    """A network behind its preprocessing, with parts that are not trained.

    Frozen parts stay in evaluation mode even during training, so their batch norms keep their statistics.
    """

    def __init__(self, standardize: Standardize, network: nn.Module) -> None:
        super().__init__()
        self.standardize, self.network = standardize, network

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (N, C, H, W) to logits (N, classes)."""
        return self.network(self.standardize(images))  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but keep a part in evaluation mode if it has parameters and none of them is trained."""
        super().train(mode)
        for part in self.network.modules() if mode else ():
            parameters = list(part.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                part.eval()
        return self


def head_names(network_of: NetworkOf) -> frozenset[str]:
    """Return the names of the parameters whose shape depends on the number of classes."""
    few, many = (outlined(network_of, classes).state_dict() for classes in (2, 3))
    return frozenset(name for name in few if few[name].shape != many[name].shape)


def stages(network: nn.Module, head: frozenset[str]) -> list[list[nn.Parameter]]:
    """Return the parameters of the backbone by stage, starting at the image.

    A stage is a block of the network's sequence, such as a ResNet's `layer4` or one encoder block of a transformer. The
    layers before the first block also form a stage. The layers between the last block and the head belong to the last
    stage, and norms after a block belong to its stage. So the last stage of an EfficientNet is its last block with the
    convolution after it.
    """
    backbone = {id(parameter): parameter for name, parameter in network.named_parameters() if name not in head}
    found: list[list[nn.Parameter]] = []
    rest: list[nn.Parameter] = []
    for unit, follows in _units(network):
        own = [backbone.pop(id(parameter)) for parameter in unit.parameters() if id(parameter) in backbone]
        if follows:
            rest += own
        elif found and _layers(own) == 0:
            found[-1] += own
        elif own:
            found.append(own)
    blocks = [number for number, stage in enumerate(found) if _layers(stage) > 1]
    if blocks and blocks[-1] > 0:  # single layers may end the sequence; if it has no blocks, each layer is a stage
        found[blocks[-1] :] = [list(chain.from_iterable(found[blocks[-1] :]))]
    found[-1] += rest
    found[0] += backbone.values()  # tokens and positions, which belong to the network itself
    return found


def count_stages(network_of: NetworkOf) -> int:
    """Return the number of stages in the backbone of a network."""
    return len(stages(outlined(network_of, 2), head_names(network_of)))


def outlined(network_of: NetworkOf, classes: int) -> nn.Module:
    """Build a network of names and shapes alone if possible, which takes milliseconds for most networks."""
    try:
        with torch.device("meta"):
            return network_of(classes)
    except NotImplementedError:  # torchvision's RegNet computes its sizes with tensors
        return network_of(classes)


def _units(module: nn.Module) -> Iterator[tuple[nn.Module, bool]]:
    """Yield each part of a network, starting at the image, and True if it follows the sequence of blocks."""
    follows = False
    for name, child in module.named_children():
        if name in CONTAINERS:
            yield from ((block, False) for block in child.children())
        elif name == "encoder":
            yield from _units(child)
        else:
            yield child, follows
            continue
        follows = True


def _layers(parameters: list[nn.Parameter]) -> int:
    """Count the parameters with more than one dimension, which excludes norms and biases."""
    return sum(parameter.ndim > 1 for parameter in parameters)


def fine_tune(
    model: FineTuned,
    network_of: NetworkOf,
    space: FineTuning,
    data: TrainData,
    *,
    epochs: int,
    state: State | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Generator[Epoch, Metrics, None]:
    """Train the parts that the strategy selects, with one learning rate for the head and one for the backbone.

    `weights` are pretrained weights for all of the network but its head, by the network's names.

    Raises:
        InputError: more stages are to be trained than the network has.
    """
    names = head_names(network_of)
    begin_head(model.network, names)
    if weights is not None:
        load_pretrained(model.network, names, weights)
    head = [parameter for name, parameter in model.network.named_parameters() if name in names]
    backbone = stages(model.network, names)
    last, rate = trained_stages(space, len(backbone))
    trained = [parameter for stage in backbone[len(backbone) - last :] for parameter in stage]
    for stage in backbone[: len(backbone) - last]:
        for parameter in stage:
            parameter.requires_grad = False
    alone = max(1, round(space.head_epochs * epochs)) if space.strategy == "lpft" else 0

    def begin(epoch: int) -> None:
        for parameter in trained:
            parameter.requires_grad = epoch > alone

    parts = [(head, space.lr), (trained, rate)] if trained else [(head, space.lr)]
    yield from fit(model, space, data, epochs=epochs, state=state, parts=parts, begin=begin)


def begin_head(network: nn.Module, head: frozenset[str]) -> None:
    """Draw the head's weights as PyTorch's layers do.

    EfficientNet and MobileNet draw them from +-1/sqrt(classes). That suits ImageNet's thousand classes. With ten
    classes the first logits are so large that the head of a frozen network lost 7 points of accuracy.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and f"{name}.weight" in head:
            module.reset_parameters()


def load_pretrained(network: nn.Module, head: frozenset[str], weights: Mapping[str, Tensor]) -> None:
    """Load all weights into a network except those of its head."""
    wanted = network.state_dict().keys() - head
    kept = {name: tensor for name, tensor in weights.items() if name in wanted}
    network.load_state_dict(kept, strict=False)
    assert kept.keys() == wanted


def trained_stages(space: FineTuning, count: int) -> tuple[int, float]:
    """Return the number of last stages, of `count`, to train besides the head, and their learning rate.

    Raises:
        InputError: the configuration asks for more stages than `count`.
    """
    if space.strategy == "freeze":
        return 0, 0.0
    if space.strategy == "partial":
        if space.last_stages > count:
            raise InputError(f"last_stages={space.last_stages}: the network has {count} stages; give at most {count}")
        return space.last_stages, space.partial_lr
    return count, space.full_lr if space.strategy == "full" else space.lpft_lr
