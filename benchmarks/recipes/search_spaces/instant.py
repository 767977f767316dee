"""A recipe for benchmarks: it trains nothing, at once."""

from dataclasses import dataclass
from typing import Annotated

from search_spaces import Choice, Float, Int, Space


@dataclass(frozen=True, kw_only=True)
class Instant(Space):
    """Four parameters of three kinds, which determine the accuracy."""

    x: Annotated[float, Float(0.0, 1.0)] = 0.9
    y: Annotated[float, Float(1e-4, 1.0, log=True)] = 0.5
    n: Annotated[int, Int(1, 100)] = 90
    kind: Annotated[str, Choice(("a", "b"))] = "b"


def distance(x: float, y: float, n: int, kind: str) -> float:
    """Return a configuration's distance from the best one, 0 to 4."""
    return abs(x - 0.3) + abs(y - 0.1) + abs(n - 50) / 100 + (kind == "b")
