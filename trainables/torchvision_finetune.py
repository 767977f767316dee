"""A pretrained network of the torchvision library with a new head."""

import difflib
from collections.abc import Generator
from typing import Any

import torchvision
from safetensors.torch import load_file
from torch import nn
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings
from torchvision.transforms import InterpolationMode

from search_spaces import DataShape, InputError
from search_spaces.torchvision_finetune import TorchvisionFineTuning
from trainables.data import TrainData
from trainables.pretrained import FineTuned, Standardize, fine_tune
from trainables.training import Epoch, Metrics, State

recipe = "torchvision_finetune"
library = "torchvision"

AUXILIARY = {"googlenet": {"aux_logits": False, "init_weights": False}, "inception_v3": {"aux_logits": False}}
"""Networks with further outputs in training, and the arguments that leave these out."""


def untrained(model: str, classes: int | None = None) -> nn.Module:
    """Return the network for a number of classes; None keeps the classes of its published weights.

    Raises:
        InputError: torchvision has no classifier of this name.
    """
    return _create(model) if classes is None else _create(model, num_classes=classes)


def published(model: str) -> tuple[nn.Module, str]:
    """Return the network with its weights, from torch's cache or their URL, and the source of the weights."""
    weights = _weights_of(model)
    network = models.get_model(model, weights=weights)
    return network, f"torchvision {torchvision.__version__}, {weights}, {weights.url}"


def build(space: TorchvisionFineTuning, shape: DataShape) -> FineTuned:
    """Build the network without pretrained weights, behind its preprocessing."""
    preset = _weights_of(space.model).transforms()
    mode = "bicubic" if preset.interpolation == InterpolationMode.BICUBIC else "bilinear"
    return FineTuned(Standardize(space, shape, preset.mean, preset.std, mode), _network(space, shape.classes))


def train(
    space: TorchvisionFineTuning, data: TrainData, *, epochs: int, state: State | None = None
) -> Generator[Epoch, Metrics, None]:
    """Fine-tune by the strategy of `space`."""
    model = build(space, data.shape)

    def network_of(classes: int) -> nn.Module:
        return _network(space, classes)

    weights: Any = None
    if space.pretrained == "yes" and state is None:
        weights = load_file(data.weights[f"torchvision_finetune.{space.model}"])
        if isinstance(model.network, VisionTransformer):
            weights = interpolate_embeddings(space.resolution, model.network.patch_size, weights)
    yield from fine_tune(model, network_of, space, data, epochs=epochs, state=state, weights=weights)


def _network(space: TorchvisionFineTuning, classes: int) -> nn.Module:
    size = {"image_size": space.resolution} if space.model.startswith("vit_") else {}
    return _create(space.model, num_classes=classes, **size)


def _create(model: str, **options: Any) -> nn.Module:
    _weights_of(model)
    network: nn.Module = models.get_model(model, **AUXILIARY.get(model, {}), **options)
    return network


def _weights_of(model: str) -> Any:
    known = models.list_models(module=models)
    if model not in known:
        near = difflib.get_close_matches(model, known, n=3)
        guess = f"did you mean {', '.join(near)}?" if near else f"there are: {', '.join(known)}"
        raise InputError(
            f"torchvision_finetune.model={model}: torchvision {torchvision.__version__} has no such classifier; {guess}"
        )
    return models.get_model_weights(model).DEFAULT
