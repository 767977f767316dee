"""Checks that every search space must pass, shared by the tests and `toprung check-recipe`.

Each check yields the faults of a space, one line each. Its docstring is its name.
"""

import dataclasses
import pickle
import random
from collections.abc import Callable, Iterator

from search_spaces import Choice, DataShape, Domains, Float, InputError, Int, Space, Value, holds

Check = Callable[[type[Space]], Iterator[str]]

SHAPES = (
    DataShape(samples=1259, channels=1, height=8, width=8, classes=10),
    DataShape(samples=7, channels=3, height=4, width=4, classes=2),
    DataShape(samples=1_000_000, channels=3, height=224, width=224, classes=1000, imbalance=40.0),
)
CONFORMANCE_DRAWS = 50


def draw(space: type[Space], domains: Domains, rng: random.Random) -> Space:
    """Draw a random configuration, uniformly over each range, including those searched by logarithm."""
    values: dict[str, Value] = {}
    for name, domain in domains.items():
        match domain:
            case Float(low, high):
                values[name] = rng.uniform(low, high)
            case Int(low, high):
                values[name] = rng.randint(low, high)
            case Choice(options):
                values[name] = rng.choice(options)
    return space.of(values)


def dataclass_with_docstring(space: type[Space]) -> Iterator[str]:
    """It is a frozen, keyword-only dataclass with a docstring."""
    if "__dataclass_params__" not in vars(space):
        yield f"{space.__name__} is not decorated: @dataclass(frozen=True, kw_only=True)"
        return
    positional = [field.name for field in dataclasses.fields(space) if not field.kw_only]
    if positional:
        yield f"{', '.join(positional)} can be given by position: @dataclass(frozen=True, kw_only=True)"
    if not space.__doc__ or space.__doc__.startswith(f"{space.__name__}("):
        yield f"{space.__name__} has no docstring that says what may vary"


def domains_and_defaults(space: type[Space]) -> Iterator[str]:
    """Every field has a domain, and a default inside."""
    for field in dataclasses.fields(space):
        if field.name not in space.domains():
            yield f"{field.name} has no domain: annotate it with a Float, an Int or a Choice"
        elif field.default is dataclasses.MISSING:
            yield f"{field.name} has no default; it is what you would run by hand"
        elif field.default not in space.domains()[field.name]:
            yield f"{field.name} has a default of {field.default}, outside {space.domains()[field.name]}"


def searched_part(space: type[Space]) -> Iterator[str]:
    """The searched part lies within the space, with the default inside."""
    rng = random.Random(0)
    if list(space.searched()) != list(space.domains()):
        yield "searched() has other fields than domains()"
    for name, searched in space.searched().items():
        if getattr(space.default(), name) not in searched:
            yield f"{name} is searched in {searched}, without its default, {getattr(space.default(), name)}"
        drawn = [getattr(draw(space, space.searched(), rng), name) for _ in range(20)]
        outside = [value for value in drawn if value not in space.domains()[name]]
        if outside:
            yield f"{name} is searched at {outside[0]}, outside {space.domains()[name]}"


def conditions_on_earlier_fields(space: type[Space]) -> Iterator[str]:
    """Conditions name earlier fields, and values that these can have."""
    seen: set[str] = set()
    for name, conditions in space.conditions().items():
        for when in conditions:
            if when.name not in seen:
                yield f"{name} depends on {when.name}, which must come before it"
            elif not isinstance(when.domain, Choice):
                yield f"{name} depends on a range of {when.name}; let it depend on a Choice"
            else:
                never = [option for option in when.domain.options if option not in space.domains()[when.name]]
                if never:
                    yield f"{name} depends on {when.name} being {never[0]}, which it cannot be"
        seen.add(name)


def clamped_part(space: type[Space]) -> Iterator[str]:
    """Clamping to data leaves a part of the space, moves the default inside, and changes nothing when repeated."""
    for shape in SHAPES:
        clamped = space.clamped(shape, space.domains())
        if list(clamped) != list(space.domains()):
            yield f"clamped to {shape} it has other fields"
            continue
        default, limits = space.default(clamped), space.limits(shape)
        for name, domain in clamped.items():
            limit, value = limits.get(name), getattr(default, name)
            if value not in domain:
                yield f"clamped to {shape}, the default of {name} is {value}, outside {domain}"
            if isinstance(limit, Choice) and isinstance(domain, Choice):
                beyond = [option for option in domain.options if option not in limit]
                if beyond:
                    yield f"clamped to {shape}, {name} may be {beyond[0]}, which limits() rules out"
            if isinstance(limit, int | float) and (_highest(domain) > limit or value > limit):
                yield f"clamped to {shape}, {name} may be more than {limit}, which limits() rules out"
        for domains in (space.domains(), space.searched()):
            once = space.clamped(shape, domains)
            if space.clamped(shape, once) != once:
                yield f"clamped to {shape} twice it is not what it was when clamped once"


def fixed_values_are_clamped(space: type[Space]) -> Iterator[str]:
    """A value that a person has fixed is also clamped."""
    small = SHAPES[1]
    for name, limit in space.limits(small).items():
        if isinstance(limit, int | float):
            fixed = {**space.domains(), name: Choice((_highest(space.domains()[name]),))}
            value = getattr(space.default(space.clamped(small, fixed)), name)
            if value > limit:
                yield f"{name}, fixed at {value}, stays above {limit} on {small}"


def read_back(space: type[Space]) -> Iterator[str]:
    """Configurations are read back as they were written, including from text."""
    rng = random.Random(0)
    for _ in range(CONFORMANCE_DRAWS):
        active = draw(space, space.domains(), rng).active()
        for written in (active, {name: str(value) for name, value in active.items()}):
            if space.parse(written).active() != active:
                yield f"{written} is read back as {space.parse(written).active()}"
                return


def active_fields(space: type[Space]) -> Iterator[str]:
    """The active fields of a configuration are exactly those whose conditions are met."""
    rng = random.Random(1)
    for _ in range(CONFORMANCE_DRAWS):
        active = draw(space, space.domains(), rng).active()
        for name, conditions in space.conditions().items():
            if (name in active) != holds(conditions, active):
                yield f"{name} is {'' if name in active else 'not '}in {active}"
                return


def unknown_field(space: type[Space]) -> Iterator[str]:
    """An unknown field is refused, with a list of the known ones."""
    unknown = "_".join(["no", *space.domains()])
    try:
        space.parse({unknown: 1})
    except InputError as error:
        unlisted = [name for name in space.domains() if name not in str(error).partition("it has: ")[2]]
        if unlisted:
            yield f"{unlisted[0]} is not listed: {error}"
    else:
        yield f"{unknown} is taken for a field"


def pickled(space: type[Space]) -> Iterator[str]:
    """A configuration survives pickling."""
    default = space.default()
    if pickle.loads(pickle.dumps(default)) != default:
        yield f"{default} is not equal to what is unpickled"


CHECKS: tuple[Check, ...] = (
    dataclass_with_docstring,
    domains_and_defaults,
    searched_part,
    conditions_on_earlier_fields,
    clamped_part,
    fixed_values_are_clamped,
    read_back,
    active_fields,
    unknown_field,
    pickled,
)


def _highest(domain: Float | Int | Choice) -> float:
    options = domain.options if isinstance(domain, Choice) else (domain.high,)
    return max(option for option in options if not isinstance(option, str))
