"""What every search space must do; a new one is found by its file."""

import dataclasses
import pickle
import random

import pytest

from search_spaces import Choice, DataShape, Float, Int, Space, holds, recipes, space_of

SHAPES = [
    DataShape(samples=1259, channels=1, height=8, width=8, classes=10),
    DataShape(samples=7, channels=3, height=4, width=4, classes=2),
    DataShape(samples=1_000_000, channels=3, height=224, width=224, classes=1000, imbalance=40.0),
]


@pytest.fixture(params=recipes())
def space(request: pytest.FixtureRequest) -> type[Space]:
    return space_of(request.param)


def draw(space: type[Space], domains: dict[str, Float | Int | Choice], rng: random.Random) -> Space:
    values = {}
    for name, domain in domains.items():
        match domain:
            case Float(low, high):
                values[name] = rng.uniform(low, high)
            case Int(low, high):
                values[name] = rng.randint(low, high)
            case Choice(options):
                values[name] = rng.choice(options)
    return space(**values)


def test_it_is_a_frozen_keyword_only_dataclass_with_a_docstring(space: type[Space]) -> None:
    assert space.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert all(field.kw_only for field in dataclasses.fields(space))
    assert space.__doc__


def test_every_field_has_one_domain_and_a_default_inside(space: type[Space]) -> None:
    assert list(space.domains()) == [field.name for field in dataclasses.fields(space)]
    default = space.default()
    for name, domain in space.domains().items():
        assert getattr(default, name) in domain, name
        assert getattr(space(), name) == getattr(default, name)


def test_what_is_searched_is_a_part_of_the_space_with_the_default_inside(space: type[Space]) -> None:
    rng = random.Random(0)
    assert list(space.searched()) == list(space.domains())
    for name, searched in space.searched().items():
        assert getattr(space(), name) in searched
        for _ in range(20):
            assert getattr(draw(space, space.searched(), rng), name) in space.domains()[name]


def test_conditions_name_earlier_fields_and_values_they_can_have(space: type[Space]) -> None:
    seen: set[str] = set()
    for name, conditions in space.conditions().items():
        for when in conditions:
            assert when.name in seen, f"{name} depends on {when.name}, which must come before it"
            assert isinstance(when.domain, Choice), "conditions on ranges have no test yet"
            parent = space.domains()[when.name]
            assert all(option in parent for option in when.domain.options)
        seen.add(name)


@pytest.mark.parametrize("shape", SHAPES)
def test_clamped_domains_are_a_part_of_the_space_with_the_default_moved_inside(
    space: type[Space], shape: DataShape
) -> None:
    clamped = space.clamped(shape, space.domains())
    assert list(clamped) == list(space.domains())
    default = space.default(clamped)
    for name, domain in clamped.items():
        assert getattr(default, name) in domain
        limit = space.limits(shape).get(name)
        if isinstance(limit, Choice):
            assert all(option in limit for option in domain.options)
        if isinstance(limit, int | float):
            assert getattr(default, name) <= limit
            highest = max(domain.options) if isinstance(domain, Choice) else domain.high
            assert highest <= limit, name


def test_clamping_twice_changes_nothing(space: type[Space]) -> None:
    for shape in SHAPES:
        for domains in (space.domains(), space.searched()):
            once = space.clamped(shape, domains)
            assert space.clamped(shape, once) == once


def test_a_value_fixed_by_a_person_is_clamped_too(space: type[Space]) -> None:
    small = SHAPES[1]
    for name, limit in space.limits(small).items():
        if isinstance(limit, int | float):
            domain = space.domains()[name]
            highest = max(domain.options) if isinstance(domain, Choice) else domain.high
            fixed = {**space.domains(), name: Choice((highest,))}
            assert getattr(space.default(space.clamped(small, fixed)), name) <= limit


def test_parse_reads_back_what_active_gives_also_as_text(space: type[Space]) -> None:
    rng = random.Random(0)
    for _ in range(50):
        drawn = draw(space, space.domains(), rng)
        active = drawn.active()
        assert space.parse(active).active() == active
        assert space.parse({name: str(value) for name, value in active.items()}).active() == active


def test_active_holds_exactly_the_fields_whose_conditions_are_met(space: type[Space]) -> None:
    rng = random.Random(1)
    for _ in range(50):
        drawn = draw(space, space.domains(), rng)
        active = drawn.active()
        for name, conditions in space.conditions().items():
            assert (name in active) == holds(conditions, active)


def test_an_unknown_field_is_refused_and_the_known_ones_are_listed(space: type[Space]) -> None:
    with pytest.raises(ValueError, match="has no field 'colour'; it has: ") as error:
        space.parse({"colour": 1})
    assert all(name in str(error.value) for name in space.domains())


def test_it_survives_pickling(space: type[Space]) -> None:
    default = space.default()
    assert pickle.loads(pickle.dumps(default)) == default
