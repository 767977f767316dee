"""The domains of fields: real numbers, whole numbers and choices, which read values from text and move them inside."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from search_spaces.space.errors import InputError

Value = float | int | str


@dataclass(frozen=True)
class Float:
    """A real number between `low` and `high`, both inclusive; `log` draws uniformly in the logarithm."""

    low: float
    high: float
    log: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check_range(self)

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}{' (log)' if self.log else ''}"

    def read(self, text: object) -> float:
        """Return the number in a flag or a YAML file; YAML reads `1e-4` as text.

        Raises:
            ValueError: `text` is not a number.
        """
        if isinstance(text, bool):
            raise ValueError("true and false are not numbers")
        number = float(text) if isinstance(text, int | float | str) else math.nan
        if not math.isfinite(number):
            raise ValueError(f"{text!r} is not a number")
        return number

    def nearest(self, value: Value) -> Value:
        """Return the member closest to `value`."""
        return min(max(float(value), self.low), self.high)

    def at_most(self, limit: float) -> "Float":
        """Return the part that is not above `limit`, or `limit` alone if all of it is."""
        return replace(self, low=min(self.low, limit), high=min(self.high, limit))


@dataclass(frozen=True)
class Int:
    """A whole number between `low` and `high`, both inclusive; `log` draws uniformly in the logarithm."""

    low: int
    high: int
    log: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check_range(self)

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and value == int(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{' (log)' if self.log else ''}"

    def read(self, text: object) -> int:
        """Return the whole number in a flag or a YAML file.

        Raises:
            ValueError: `text` is not a whole number.
        """
        if isinstance(text, bool) or not isinstance(text, int | float | str) or float(text) != int(float(text)):
            raise ValueError(f"{text!r} is not a whole number")
        return int(float(text))

    def nearest(self, value: Value) -> Value:
        """Return the member closest to `value`."""
        return min(max(int(value), self.low), self.high)

    def at_most(self, limit: float) -> "Int":
        """Return the part that is not above `limit`, or `limit` alone if all of it is."""
        return replace(self, low=min(self.low, int(limit)), high=min(self.high, int(limit)))


@dataclass(frozen=True)
class Choice:
    """One of `options`: words or numbers. A switch is a choice of two words, because `bool("False")` is True.

    An `open` choice draws from its options, but a person may name any other word, such as a network in a library.
    """

    options: tuple[Value, ...]
    open: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not self.options:
            raise InputError("a choice has no options; give at least one")
        if len(set(self.options)) < len(self.options):
            raise InputError(f"a choice names an option twice: {self}; name each once")

    def __contains__(self, value: object) -> bool:
        return value in self.options or (self.open and isinstance(value, str) and bool(value))

    def __str__(self) -> str:
        return "|".join(str(option) for option in self.options) + ("|..." if self.open else "")

    def read(self, text: object) -> Value:
        """Return the option that is written as `text`; a number matches by value, so that 1e-3 is 0.001.

        A choice of yes and no also accepts true and false, because YAML reads a bare `no` as false.

        Raises:
            ValueError: no option is written that way.
        """
        if {"yes", "no"} <= set(self.options):
            text = {"true": "yes", "false": "no"}.get(str(text).lower(), text)
        for option in self.options:
            if str(option) == str(text) or (_is_number(option) and _as_number(text) == option):
                return option
        if self.open and isinstance(text, str) and text:
            return text
        raise ValueError(f"{text!r} is not an option")

    def nearest(self, value: Value) -> Value:
        """Return `value` if it is an option; else the closest number, or the first option."""
        if value in self or not _is_number(value):
            return value if value in self else self.options[0]
        return min(self.options, key=lambda option: abs(float(option) - value))

    def at_most(self, limit: float) -> "Choice":
        """Return a choice of the numbers that are not above `limit`, or of `limit` alone if all of them are."""
        return Choice(tuple(option for option in self.options if float(option) <= limit) or (limit,))


Domain = Float | Int | Choice
Domains = Mapping[str, Domain]


def _check_range(domain: Float | Int) -> None:
    if domain.low > domain.high:
        low, high = f"{domain.low:g}", f"{domain.high:g}"
        raise InputError(f"range {low}..{high} is reversed; write {high}..{low}")
    if domain.log and domain.low <= 0:
        raise InputError(f"range {domain.low:g}..{domain.high:g} is drawn by its logarithm; let it begin above 0")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        return None
