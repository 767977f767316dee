"""A classification network of the YOLO family, trained in the shared loop.

ultralytics is licensed under AGPL-3.0 and is imported only here: `pip install 'toprung[yolo]'`.
"""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from search_spaces import DataShape, InputError
from search_spaces.yolo_cls import YOLOClassification
from trainables.data import TrainData
from trainables.pretrained import FineTuned, Standardize, fine_tune
from trainables.pretrained.weights import yolo_to_safetensors
from trainables.training import Epoch, Metrics, State

for switch, value in {"OFFLINE": "True", "VERBOSE": "False", "AUTOINSTALL": "False"}.items():
    os.environ.setdefault(f"YOLO_{switch}", value)  # read at import: no network, no output, no installing

others = Image.open, torch.save
try:
    import ultralytics
    from ultralytics.nn.tasks import ClassificationModel
except ImportError as error:
    raise InputError(
        "recipe 'yolo_cls' needs ultralytics, which is licensed under AGPL-3.0: pip install 'toprung[yolo]'"
    ) from error
finally:
    Image.open, torch.save = others  # ultralytics replaces them for the whole process

recipe = "yolo_cls"
library = "ultralytics"

DEFINITIONS = Path(ultralytics.__file__).parent / "cfg" / "models"
SCALES = "nsmlx"
IMAGENET_CLASSES = 1000


class Logits(ClassificationModel):
    """ultralytics' network, reduced to logits: it returns probabilities and logits in evaluation, logits in training.

    It is a subclass, so its parameters keep the names under which ultralytics saves them.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Map float (N, 3, H, W) to logits (N, classes)."""
        found: Tensor | tuple[Tensor, Tensor] = super().forward(images)  # type: ignore[no-untyped-call]
        return found[1] if isinstance(found, tuple) else found


def untrained(model: str, classes: int | None = None) -> nn.Module:
    """Return the network for a number of classes; None gives ImageNet's, for which its weights were trained.

    Raises:
        InputError: ultralytics has no definition of this name.
    """
    return _network(model, classes or IMAGENET_CLASSES)


def published(model: str) -> tuple[nn.Module, str]:
    """Refuse: the published weights cannot be read safely.

    Raises:
        InputError: always, with the way out.
    """
    raise InputError(
        f"the weights of {model} are published as a pickle, which can run any code; where you trust it, write it as "
        f"safetensors and give that by --weights: {yolo_to_safetensors(f'{model}.pt')}; or train without: "
        "--set yolo_cls.pretrained=no"
    )


def build(space: YOLOClassification, shape: DataShape) -> FineTuned:
    """Build the network of a configuration with random weights, behind its preprocessing."""
    standardize = Standardize(space, shape, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")
    network = _network(space.model, shape.classes)
    head: Any = network.get_submodule("model")[-1]  # type: ignore[index]
    head.drop.p = space.head_dropout
    return FineTuned(standardize, network)


def train(
    space: YOLOClassification, data: TrainData, *, epochs: int, state: State | None = None
) -> Generator[Epoch, Metrics, None]:
    """Train by the strategy of `space`; without pretrained weights, train the whole network."""
    model = build(space, data.shape)

    def network_of(classes: int) -> nn.Module:
        return _network(space.model, classes)

    fresh = space.pretrained == "yes" and state is None
    weights = load_file(data.weights[f"yolo_cls.{space.model}"]) if fresh else None
    yield from fine_tune(model, network_of, space, data, epochs=epochs, state=state, weights=weights)


def _network(model: str, classes: int) -> Logits:
    """Build a network from its definition; the letter before "-cls" is the scale, as in yolo11n-cls."""
    known = {file.stem: file for file in DEFINITIONS.glob("*/*-cls*.yaml")}
    family, _, rest = model.partition("-cls")
    scale = family[-1:] if family[-1:] in SCALES else ""
    definition = f"{family.removesuffix(scale)}-cls{rest}"
    if definition not in known:
        names = ", ".join(name.replace("-cls", "n-cls", 1) for name in sorted(known))
        raise InputError(
            f"yolo_cls.model={model}: ultralytics has no such definition; there are: {names} (n, s, m, l, x)"
        )
    return Logits(f"{model}.yaml", nc=classes, ch=3, verbose=False)  # type: ignore[no-untyped-call]
