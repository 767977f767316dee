"""Every search space does what one must; a new one is found by its file. And the checks find what is wrong."""

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
    """It has no fields."""


@dataclass(frozen=True)
class Positional(Space):
    """It can be given by position."""

    width: Annotated[int, Int(1, 9)] = 3


@dataclass(frozen=True, kw_only=True)
class Outside(Space):
    """Its default lies outside; a field has no domain; more is searched than there is."""

    width: Annotated[int, Int(1, 9)] = 30
    bare: int = 3
    rate: Annotated[float, Float(0.1, 0.5), Searched(Float(5.0, 9.0))] = 0.2


@dataclass(frozen=True, kw_only=True)
class Backwards(Space):
    """A condition on what comes later, and on what never is."""

    momentum: Annotated[float, Float(0.1, 0.5), When("kind", Choice(("a",)))] = 0.2
    kind: Annotated[str, Choice(("a", "b"))] = "a"
    other: Annotated[float, Float(0.1, 0.5), When("kind", Choice(("z",)))] = 0.2


@dataclass(frozen=True, kw_only=True)
class Restless(Space):
    """Each clamping leaves less."""

    width: Annotated[int, Int(1, 9)] = 3

    @classmethod
    def clamped(cls, shape: DataShape, domains: object = None) -> dict[str, Int | Float | Choice]:
        """One less each time."""
        domain = domains["width"] if isinstance(domains, dict) else Int(1, 9)
        return {"input_variant": Choice(("whole",)), "width": Int(1, domain.high - 1 if isinstance(domain, Int) else 9)}

    @classmethod
    def limits(cls, shape: DataShape) -> Limits:
        """A limit that is not held."""
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
