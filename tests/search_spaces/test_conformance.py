"""Conformance of every search space, found by its file; the checks also find faulty spaces."""

import re
from dataclasses import dataclass
from typing import Annotated

import pytest

from search_spaces import Choice, DataShape, Float, Int, Limits, Searched, Space, When, recipes, space_of
from search_spaces.space.conformance import CHECKS, Check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("recipe", recipes())
def test_a_space_does_what_one_must(recipe: str, check: Check) -> None:
    assert list(check(space_of(recipe))) == []


class Undecorated(Space):
    """A space without fields, as the decorator is missing."""


@dataclass(frozen=True)
class Positional(Space):
    """A space that accepts positional arguments."""

    width: Annotated[int, Int(1, 9)] = 3


@dataclass(frozen=True, kw_only=True)
class Outside(Space):
    """A space with a default outside its domain, a field without a domain, and a searched field that does not exist."""

    width: Annotated[int, Int(1, 9)] = 30
    bare: int = 3
    rate: Annotated[float, Float(0.1, 0.5), Searched(Float(5.0, 9.0))] = 0.2


@dataclass(frozen=True, kw_only=True)
class Backwards(Space):
    """A space with a condition on a later field and one on a missing field."""

    momentum: Annotated[float, Float(0.1, 0.5), When("kind", Choice(("a",)))] = 0.2
    kind: Annotated[str, Choice(("a", "b"))] = "a"
    other: Annotated[float, Float(0.1, 0.5), When("kind", Choice(("z",)))] = 0.2


@dataclass(frozen=True, kw_only=True)
class Restless(Space):
    """A space that changes each time it is clamped."""

    width: Annotated[int, Int(1, 9)] = 3

    @classmethod
    def clamped(cls, shape: DataShape, domains: object = None) -> dict[str, Int | Float | Choice]:
        """Return domains that shrink by one each time."""
        domain = domains["width"] if isinstance(domains, dict) else Int(1, 9)
        return {"input_variant": Choice(("whole",)), "width": Int(1, domain.high - 1 if isinstance(domain, Int) else 9)}

    @classmethod
    def limits(cls, shape: DataShape) -> Limits:
        """Return a limit below the upper bound of `width`."""
        return {"width": 2}


@pytest.mark.parametrize(
    ("space", "check", "fault"),
    [
        (Undecorated, "dataclass_with_docstring", "Undecorated is not decorated"),
        (Positional, "dataclass_with_docstring", "width can be given by position"),
        (Outside, "domains_and_defaults", "width has a default of 30, outside 1..9"),
        (Outside, "domains_and_defaults", "bare has no domain"),
        (Backwards, "conditions_on_earlier_fields", "momentum depends on kind, which must come before it"),
        (Backwards, "conditions_on_earlier_fields", "other depends on kind being z, which it cannot be"),
        (Restless, "clamped_part", "twice it is not what it was when clamped once"),
        (Restless, "clamped_part", "width may be more than 2, which limits() rules out"),
        (Restless, "fixed_values_are_clamped", "width, fixed at 3, stays above 2"),
    ],
)
def test_the_checks_find_what_is_wrong(space: type[Space], check: str, fault: str) -> None:
    (found,) = (each for each in CHECKS if each.__name__ == check)
    assert re.search(re.escape(fault), "\n".join(found(space)))
