import random
from dataclasses import dataclass
from typing import Annotated

import pytest

from search_spaces import (
    FIXED,
    Choice,
    DataShape,
    Float,
    InputError,
    Int,
    Limits,
    Searched,
    Space,
    When,
    narrow,
    recipes,
    space_of,
)


@dataclass(frozen=True, kw_only=True)
class Toy(Space):
    """A space with a chain of conditions."""

    kind: Annotated[str, Choice(("a", "b"))] = "a"
    inner: Annotated[str, Choice(("x", "y")), When("kind", Choice(("b",)))] = "x"
    deep: Annotated[int, Int(1, 9), When("inner", Choice(("y",)))] = 3
    rate: Annotated[float, Float(1e-4, 1e-1, log=True)] = 1e-2
    size: Annotated[int, Choice((16, 32, 64))] = 32

    @classmethod
    def limits(cls, shape: DataShape) -> dict[str, float]:
        return {"size": shape.side, "deep": shape.side / 10}


def test_a_field_is_active_only_with_all_that_it_depends_on() -> None:
    assert "deep" in Toy(kind="b", inner="y").active()
    assert "deep" not in Toy(kind="b", inner="x").active()
    assert "deep" not in Toy(kind="a", inner="y").active()  # inner is not active itself


@dataclass(frozen=True, kw_only=True)
class Part(Space):
    """A space of which a part is searched."""

    kind: Annotated[str, Choice(("a", "b", "c")), Searched(Choice(("a", "b")))] = "a"
    decay: Annotated[float, Float(0.0, 0.1), Searched(Float(1e-6, 0.1, log=True))] = 1e-2
    clip: Annotated[float, Float(0.0, 10.0), FIXED] = 0.0
    side: Annotated[int, Choice((2, 4, 7))] = 4

    @classmethod
    def limits(cls, shape: DataShape) -> Limits:
        return {"side": Choice(tuple(n for n in (2, 4, 7) if shape.side % n == 0))}


def test_a_part_is_searched_and_the_rest_is_there_by_name() -> None:
    assert Part.searched() == {
        "input_variant": Choice(("whole",)),
        "kind": Choice(("a", "b")),
        "decay": Float(1e-6, 0.1, log=True),
        "clip": Choice((0.0,)),
        "side": Choice((2, 4, 7)),
    }
    assert Part.parse({"kind": "c", "clip": "3"}) == Part(kind="c", clip=3.0)
    assert narrow(Part, "clip", "1..5") == Float(1.0, 5.0)
    assert narrow(Part, "kind", "c") == Choice(("c",))


def test_a_range_within_what_is_searched_is_drawn_as_that_is() -> None:
    assert narrow(Part, "decay", "1e-4..1e-2") == Float(1e-4, 1e-2, log=True)
    assert narrow(Part, "decay", "0..1e-2") == Float(0.0, 1e-2)
    assert narrow(Part, "decay", "0") == Choice((0.0,))


def test_options_that_are_impossible_move_to_the_nearest_that_is_not() -> None:
    shape = DataShape(samples=10, channels=1, height=28, width=28, classes=2)
    assert Part.clamped(shape)["side"] == Choice((2, 4, 7))
    even = DataShape(samples=10, channels=1, height=8, width=8, classes=2)
    assert Part.clamped(even)["side"] == Choice((2, 4))
    assert Part.clamped(even, {**Part.domains(), "side": Choice((7,))})["side"] == Choice((4,))


def test_both_ends_of_a_range_belong_to_it() -> None:
    assert 1 in Int(1, 3)
    assert 3 in Int(1, 3)
    assert 4 not in Int(1, 3)
    assert 2.5 not in Int(1, 3)
    assert 0.5 in Float(0.5, 1.0)
    assert True not in Int(0, 1)
    assert "1" not in Int(0, 1)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("rate=1e-3", Choice((1e-3,))),
        ("rate=1e-3..1e-2", Float(1e-3, 1e-2, log=True)),
        ("rate=1e-3|1e-2", Choice((1e-3, 1e-2))),
        ("deep=2..2", Int(2, 2)),
        ("size=16|64", Choice((16, 64))),
        ("kind=b", Choice(("b",))),
    ],
)
def test_set_fixes_narrows_or_lists(text: str, domain: Float | Int | Choice) -> None:
    name, _, value = text.partition("=")
    assert narrow(Toy, name, value) == domain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate=1e-2..1e-3", r"rate=1e-2..1e-3 is reversed; write 0.001..0.01"),
        ("rate=0..1e-2", r"rate=0 is outside its domain; choose from 0.0001..0.1 \(log\)"),
        ("rate=1", r"rate=1 is outside its domain"),
        ("rate=fast", r"rate=fast is outside its domain"),
        ("rate=", r"rate= is outside its domain"),
        ("deep=2.5", r"deep=2.5 is outside its domain; choose from 1..9"),
        ("deep=1e999", r"deep=1e999 is outside its domain"),
        ("kind=a..b", r"kind is a choice, not a range; list options: a\|b"),
        ("kind=c", r"kind=c is outside its domain; choose from a\|b"),
        ("kind=a|a", r"names an option twice"),
        ("colour=red", r"has no field 'colour'; it has: input_variant, kind, inner, deep, rate, size"),
    ],
)
def test_set_refuses_with_the_value_the_rule_and_the_way_out(text: str, message: str) -> None:
    name, _, value = text.partition("=")
    with pytest.raises(InputError, match=message) as error:
        narrow(Toy, name, value)
    assert "\n" not in str(error.value)


def test_a_logarithmic_range_begins_above_zero() -> None:
    with pytest.raises(InputError, match="let it begin above 0"):
        Float(0.0, 1.0, log=True)


@pytest.mark.parametrize(
    ("text", "value"), [(True, "yes"), (False, "no"), ("False", "no"), ("true", "yes"), ("no", "no"), ("yes", "yes")]
)
def test_a_choice_of_yes_and_no_takes_true_and_false_as_yaml_reads_them(text: object, value: str) -> None:
    assert Choice(("yes", "no")).read(text) == Choice(("no", "perhaps", "yes")).read(text) == value
    with pytest.raises(ValueError, match="is not an option"):
        Choice(("yes", "never")).read(False)


def test_limits_narrow_ranges_and_choices() -> None:
    shape = DataShape(samples=10, channels=1, height=40, width=50, classes=2)
    clamped = Toy.clamped(shape)
    assert clamped["size"] == Choice((16, 32))
    assert clamped["deep"] == Int(1, 4)
    assert Toy.clamped(shape, {**Toy.domains(), "deep": Int(6, 9)})["deep"] == Int(4, 4)


def test_the_default_moves_to_the_nearest_value_that_is_left() -> None:
    domains = {**Toy.domains(), "rate": Float(1e-4, 1e-3), "size": Choice((16, 64)), "kind": Choice(("b",))}
    default = Toy.default(domains)
    assert (default.rate, default.size, default.kind) == (1e-3, 16, "b")


def test_an_unknown_recipe_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(InputError, match="no recipe 'resnet'; there are: " + ", ".join(recipes())):
        space_of("resnet")


def test_text_is_read_by_value() -> None:
    rng = random.Random(0)
    for _ in range(100):
        value = 10 ** rng.uniform(-4, -1)
        assert Float(1e-4, 1e-1).read(repr(value)) == value
