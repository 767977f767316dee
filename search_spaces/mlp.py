"""A multi-layer perceptron on pixels."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces import Choice, Float, Int, Training


@dataclass(frozen=True, kw_only=True)
class MLP(Training):
    """The space of hidden layers, batch norm and dropout, in addition to the training fields."""

    depth: Annotated[int, Int(1, 4)] = 2
    width: Annotated[int, Int(32, 1024, log=True)] = 256
    norm: Annotated[str, Choice(("batch", "none"))] = "batch"
    dropout: Annotated[float, Float(0.0, 0.6)] = 0.2
