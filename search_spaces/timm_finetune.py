"""A pretrained network of the timm library with a new head."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces import Choice
from search_spaces.shared.fine_tuning import FineTuning


@dataclass(frozen=True, kw_only=True)
class TimmFineTuning(FineTuning):
    """The space of networks, by any name that timm knows, in addition to the fine-tuning fields."""

    model: Annotated[str, Choice(("resnet50", "efficientnet_b0"), open=True)] = "resnet50"
