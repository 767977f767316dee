"""A classification network of the YOLO family (ultralytics, AGPL-3.0: an extra of its own)."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces import FIXED, Choice, Float, When
from search_spaces.shared.fine_tuning import FineTuning


@dataclass(frozen=True, kw_only=True)
class YOLOClassification(FineTuning):
    """The space of networks, by the name of their definition, and of the dropout before the last layer.

    The published weights have no format that can be read safely. So the whole network is trained from scratch, unless
    weights are given with pretrained=yes and --weights.
    """

    full_lr: Annotated[float, Float(1e-5, 1e-2, log=True), When("strategy", Choice(("full",)))] = 1e-3
    strategy: Annotated[str, Choice(("freeze", "partial", "full", "lpft")), FIXED] = "full"
    pretrained: Annotated[str, Choice(("yes", "no")), FIXED] = "no"
    resolution: Annotated[int, Choice((32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384)), FIXED] = 128
    model: Annotated[str, Choice(("yolo11n-cls",), open=True)] = "yolo11n-cls"
    head_dropout: Annotated[float, Float(0.0, 0.7)] = 0.0
