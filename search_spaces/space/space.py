"""The parts of a search space: three kinds of range, conditions, and a frozen dataclass that carries them.

A space class describes the fields that may vary; an instance of it is one configuration. Recipes receive the typed
instance. Optuna and W&B receive a translated description.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, TypeGuard, get_args, get_origin, get_type_hints

from search_spaces.space.errors import InputError, meant
from search_spaces.space.shape import DataShape

Value = float | int | str

Variant = Literal["whole", "box"]
"""The part of an image that a model is shown: the whole image, or the content of its box."""


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
Limits = Mapping[str, float | Choice | tuple[Value, ...]]


@dataclass(frozen=True)
class When:
    """A condition on a field: it matters only while field `name` is active and has a value in `domain`."""

    name: str
    domain: Domain


@dataclass(frozen=True)
class Searched:
    """The part of a field's domain that is searched unless a person narrows the field; None for its default alone.

    A person can still ask for values outside it by name. So a published setting is within reach, but not every search
    pays for it.
    """

    domain: Domain | None


FIXED = Searched(None)
"""Marker of a field that keeps its default unless a person names it."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """The base of all search spaces. A subclass is a frozen dataclass of annotated fields with defaults.

        width: Annotated[int, Int(16, 128, log=True)] = 32
        momentum: Annotated[float, Float(0.5, 0.99), When("optimizer", Choice(("sgd",)))] = 0.9

    A field with a condition comes after the field that the condition names. If the condition holds for no searched
    value, the field needs no `FIXED`.

    Every space has `input_variant`. Recipes need not read it: the images they receive already have that variant.
    """

    deterministic: ClassVar[bool] = False
    """True if training draws nothing at random, so that one seed is enough."""

    input_variant: Annotated[Variant, Choice(get_args(Variant)), FIXED] = "whole"

    @classmethod
    @cache
    def domains(cls) -> dict[str, Domain]:
        """Return the domain of each field, in the order of the fields."""
        return {name: next(m for m in marks if isinstance(m, Domain)) for name, marks in _annotations(cls).items()}

    @classmethod
    @cache
    def searched(cls) -> dict[str, Domain]:
        """Return the part of each field's domain that is searched unless a person narrows it."""
        searched = dict(cls.domains())
        for f in fields(cls):
            mark = next((m for m in _annotations(cls)[f.name] if isinstance(m, Searched)), None)
            if mark:
                searched[f.name] = mark.domain or Choice((_default(f),))
        return searched

    @classmethod
    @cache
    def conditions(cls) -> dict[str, tuple[When, ...]]:
        """Return the conditions of each field; all must hold."""
        return {name: tuple(m for m in marks if isinstance(m, When)) for name, marks in _annotations(cls).items()}

    @classmethod
    def limits(cls, shape: DataShape) -> Limits:
        """Return the limits that this data imposes on some fields.

        A number is an upper bound. A choice holds the only possible options; other values move to the nearest. A tuple
        holds the options worth searching, and does not apply if a person has narrowed the field.
        """
        return {}

    @classmethod
    def clamped(cls, shape: DataShape, domains: Domains | None = None) -> dict[str, Domain]:
        """Return `domains` (default: the searched part) without the values that the data rule out; never empty."""
        clamped = dict(domains or cls.searched())
        for name, limit in cls.limits(shape).items():
            domain = clamped[name]
            if isinstance(limit, tuple):
                if domain != cls.searched()[name]:
                    continue  # a person has narrowed it
                assert isinstance(domain, Choice), f"{cls.__name__}.{name}: options limit a choice only"
                kept = tuple(option for option in domain.options if option in limit)
                clamped[name] = Choice(kept or limit[:1])
            elif isinstance(limit, Choice):
                assert isinstance(domain, Choice), f"{cls.__name__}.{name}: options limit a choice only"
                clamped[name] = Choice(tuple(dict.fromkeys(limit.nearest(option) for option in domain.options)))
            else:
                clamped[name] = domain.at_most(limit)
        return clamped

    @classmethod
    def default(cls, domains: Domains | None = None) -> Self:
        """Return the hand-tuned configuration, with values outside `domains` moved inside."""
        return cls().within(domains or cls.domains())

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Self:
        """Return a configuration from text or YAML; fields that are not named keep their defaults.

        Raises:
            InputError: an unknown field, or a value outside its domain.
        """
        return cls.of({name: read_value(cls, name, value) for name, value in values.items()})

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return a configuration with these values, as drawn or recorded; fields not named keep their defaults."""
        return cls(**values)

    def within(self, domains: Domains) -> Self:
        """Return this configuration with each field moved to the nearest value in its domain."""
        return self.of({name: domain.nearest(getattr(self, name)) for name, domain in domains.items()})

    def active(self) -> dict[str, Value]:
        """Return the fields that matter in this configuration, in order: those whose conditions hold."""
        active: dict[str, Value] = {}
        for name, conditions in self.conditions().items():
            if holds(conditions, active):
                active[name] = getattr(self, name)
        return active


def holds(conditions: tuple[When, ...], active: Mapping[str, Value]) -> bool:
    """Return True if the active fields meet every condition."""
    return all(when.name in active and active[when.name] in when.domain for when in conditions)


def domain_of(space: type[Space], name: str) -> Domain:
    """Return the domain of a field.

    Raises:
        InputError: there is no such field.
    """
    domains = space.domains()
    if name not in domains:
        raise InputError(f"{_recipe(space)} has no field {name!r}{meant(name, domains)}; it has: {', '.join(domains)}")
    return domains[name]


def read_value(space: type[Space], name: str, text: object) -> Value:
    """Return the value of a field as written by a person.

    Raises:
        InputError: there is no such field, or the value lies outside its domain.
    """
    domain = domain_of(space, name)
    try:
        value = domain.read(text)
    except (ValueError, OverflowError):
        value = None
    if value is None or value not in domain:
        raise InputError(f"{_recipe(space)}.{name}={text} is outside its domain; choose from {domain}")
    return value


def narrow(space: type[Space], name: str, text: object) -> Domain:
    """Return the part of a field's domain that a person asks for: `value`, a range `low..high`, or options `a|b`.

    A range inside the part that is searched by default is drawn as that part is, by logarithm or not.

    Raises:
        InputError: an unknown field, a reversed range, or a value outside the field's domain.
    """
    domain = domain_of(space, name)
    written = str(text)
    if ".." in written:
        if isinstance(domain, Choice):
            raise InputError(f"{_recipe(space)}.{name} is a choice, not a range; list options: {domain}")
        low, high = (float(read_value(space, name, end)) for end in written.split("..", 1))
        if low > high:
            raise InputError(f"{_recipe(space)}.{name}={written} is reversed; write {high:g}..{low:g}")
        usual = space.searched()[name]
        if not isinstance(usual, Choice) and low in usual and high in usual:
            domain = usual
        if isinstance(domain, Int):
            return replace(domain, low=int(low), high=int(high))
        return replace(domain, low=float(low), high=float(high))
    return Choice(tuple(read_value(space, name, option) for option in written.split("|")))


def _check_range(domain: Float | Int) -> None:
    if domain.low > domain.high:
        low, high = f"{domain.low:g}", f"{domain.high:g}"
        raise InputError(f"range {low}..{high} is reversed; write {high}..{low}")
    if domain.log and domain.low <= 0:
        raise InputError(f"range {domain.low:g}..{domain.high:g} is drawn by its logarithm; let it begin above 0")


def _annotations(space: type[Space]) -> dict[str, tuple[Any, ...]]:
    hints = get_type_hints(space, include_extras=True)
    return {f.name: get_args(hints[f.name])[1:] for f in fields(space) if get_origin(hints[f.name]) is Annotated}


def _default(f: Any) -> Value:
    value: Value = f.default
    return value


def _recipe(space: type[Space]) -> str:
    return space.__module__.rpartition(".")[2]


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        return None
