"""A pretrained network of the timm library with a new head."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces._finetune import FineTuning
from search_spaces._space import Choice


@dataclass(frozen=True, kw_only=True)
class TimmFineTuning(FineTuning):
    """What may vary: the network, by any name that timm knows, beside the fine-tuning."""

    model: Annotated[str, Choice(("resnet50", "efficientnet_b0"), open=True)] = "resnet50"
