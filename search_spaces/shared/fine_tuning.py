"""The fields of every fine-tuning space: the parts of a pretrained network to train, and their learning rates."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces.shared.training import Training
from search_spaces.space.domains import Choice, Float, Int
from search_spaces.space.space import FIXED, Searched, When


@dataclass(frozen=True, kw_only=True)
class FineTuning(Training):
    """The strategy, the learning rates of head and backbone, and the size that images are resized to.

    "freeze" trains a new head alone. "partial" also trains the last stages. "full" trains everything. "lpft" trains the
    head first and then everything (linear probing, then fine-tuning: Kumar et al. 2022). The last stage is the last
    block, such as a ResNet's `layer4`, and everything after it except the head. `lr` is the head's learning rate.
    """

    normalize: Annotated[str, Choice(("network", "measured", "imagenet", "half")), FIXED] = "network"
    lr: Annotated[float, Float(1e-5, 1e-2, log=True)] = 1e-3
    weight_decay: Annotated[float, Float(0.0, 1e-1), Searched(Float(1e-6, 1e-1, log=True))] = 1e-4
    strategy: Annotated[str, Choice(("freeze", "partial", "full", "lpft"))] = "freeze"
    last_stages: Annotated[int, Int(1, 64), Searched(Int(1, 4)), When("strategy", Choice(("partial",)))] = 1
    partial_lr: Annotated[float, Float(1e-5, 1e-3, log=True), When("strategy", Choice(("partial",)))] = 1e-4
    full_lr: Annotated[float, Float(1e-6, 1e-3, log=True), When("strategy", Choice(("full",)))] = 1e-5
    lpft_lr: Annotated[float, Float(1e-6, 1e-3, log=True), When("strategy", Choice(("lpft",)))] = 1e-5
    head_epochs: Annotated[float, Float(0.1, 0.5), When("strategy", Choice(("lpft",)))] = 0.3
    pretrained: Annotated[str, Choice(("yes", "no")), FIXED] = "yes"
    resolution: Annotated[int, Choice((32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384)), FIXED] = 224
