"""A recipe for tests that trains nothing and behaves as configured."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces import Choice, Float, Int, Space


@dataclass(frozen=True, kw_only=True)
class Probe(Space):
    """The behavior of a trial and its apparent skill."""

    behaviour: Annotated[str, Choice(("train", "raise", "diverge", "die", "die-always"))] = "train"
    skill: Annotated[float, Float(0.0, 1.0)] = 0.5
    number: Annotated[int, Int(1, 1000)] = 1
