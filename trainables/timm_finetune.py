"""A pretrained network of the timm library with a new head."""

import difflib
import os
import socket
from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

import timm
from huggingface_hub import constants
from safetensors.torch import load_file
from torch import nn

from search_spaces import DataShape, InputError
from search_spaces.timm_finetune import TimmFineTuning
from trainables.data import TrainData
from trainables.pretrained import FineTuned, Standardize, fine_tune
from trainables.training import Epoch, Metrics, State

recipe = "timm_finetune"
library = "timm"


def untrained(model: str, classes: int | None = None) -> nn.Module:
    """Return the network for a number of classes; None keeps the classes of its published weights.

    Raises:
        InputError: timm has no network of this name.
    """
    return _create(model) if classes is None else _create(model, num_classes=classes)


def published(model: str) -> tuple[nn.Module, str]:
    """Return the network with its weights, from timm's cache or its hub, and the source of the weights."""
    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline or not _reachable(constants.ENDPOINT)  # else the library retries for a minute
    try:
        network = _create(model, pretrained=True)
    finally:
        constants.HF_HUB_OFFLINE = offline
    config: Any = network.pretrained_cfg
    return network, f"timm {timm.__version__}, {config.get('hf_hub_id') or config.get('url')}"


def build(space: TimmFineTuning, shape: DataShape, **loaded: Any) -> FineTuned:
    """Build the network behind its preprocessing, with random weights unless timm is told what to load."""
    network = _network(space, shape.classes, **loaded)
    config: Any = network.pretrained_cfg
    mode = "bicubic" if config["interpolation"] == "bicubic" else "bilinear"
    return FineTuned(Standardize(space, shape, config["mean"], config["std"], mode), network)


def train(
    space: TimmFineTuning, data: TrainData, *, epochs: int, state: State | None = None
) -> Generator[Epoch, Metrics, None]:
    """Fine-tune by the strategy of `space`."""
    loaded: dict[str, Any] = {}
    if space.pretrained == "yes" and state is None:
        weights = load_file(data.weights[f"timm_finetune.{space.model}"])
        loaded = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": weights}}
    model = build(space, data.shape, **loaded)
    yield from fine_tune(model, lambda classes: _network(space, classes), space, data, epochs=epochs, state=state)


def _network(space: TimmFineTuning, classes: int, **loaded: Any) -> nn.Module:
    config = timm.get_pretrained_cfg(space.model) if timm.is_model(space.model) else None
    # transformers have positions for one image size; timm resamples them when it loads weights
    size = {"img_size": space.resolution} if config and config.fixed_input_size else {}
    return _create(space.model, num_classes=classes, **size, **loaded)


def _reachable(address: str) -> bool:
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 443), timeout=5).close()
    except OSError:
        return any(variable in os.environ for variable in ("HTTPS_PROXY", "https_proxy"))
    return True


def _create(model: str, **options: Any) -> nn.Module:
    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(), n=3)
        guess = f"; did you mean {', '.join(near)}?" if near else "; timm.list_models() has all"
        raise InputError(f"timm_finetune.model={model}: timm {timm.__version__} has no such network{guess}")
    network: nn.Module = timm.create_model(model, **options)
    return network
