"""Search spaces: a frozen dataclass whose fields carry their domains and conditions.

A space class describes the fields that may vary; an instance of it is one configuration. Recipes receive the typed
instance. Optuna and W&B receive a translated description.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from search_spaces.space.domains import Choice, Domain, Domains, Int, Value
from search_spaces.space.errors import InputError, meant
from search_spaces.space.shape import DataShape

Variant = Literal["whole", "box"]
"""The part of an image that a model is shown: the whole image, or the content of its box."""


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


def _annotations(space: type[Space]) -> dict[str, tuple[Any, ...]]:
    hints = get_type_hints(space, include_extras=True)
    return {f.name: get_args(hints[f.name])[1:] for f in fields(space) if get_origin(hints[f.name]) is Annotated}


def _default(f: Any) -> Value:
    value: Value = f.default
    return value


def _recipe(space: type[Space]) -> str:
    return space.__module__.rpartition(".")[2]
