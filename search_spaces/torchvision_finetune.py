"""A pretrained network of the torchvision library with a new head."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces import Choice
from search_spaces.shared.fine_tuning import FineTuning


@dataclass(frozen=True, kw_only=True)
class TorchvisionFineTuning(FineTuning):
    """The space of networks, by any name of a torchvision classifier, in addition to the fine-tuning fields."""

    model: Annotated[str, Choice(("resnet18", "resnet50", "vit_b_16"), open=True)] = "resnet18"
