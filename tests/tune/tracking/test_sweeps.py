"""Spaces as W&B sweeps: what W&B draws, a recipe takes."""

import json
import random
from importlib.util import find_spec
from math import exp, log
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from search_spaces import Choice, Domain, Float, InputError, Int, recipes, space_of
from tune.cli import main
from tune.settings.settings import Settings, make
from tune.tracking.sweeps import configuration, drawn_by, driving_sweep, joined, parameter


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft7Validator:
    """The schema of sweeps from W&B's own package."""
    found = find_spec("sweeps")
    assert found, "make install"
    assert found.origin
    return jsonschema.Draft7Validator(json.loads((Path(found.origin).parent / "config" / "schema.json").read_text()))


def settings_of(*names: str, **given: Any) -> Settings:
    return make({"recipes": names, "name": "x", **given})


def draw(one: dict[str, Any], random: random.Random) -> Any:
    """A value of a parameter, as W&B draws it."""
    if "value" in one:
        return one["value"]
    if "values" in one:
        return random.choice(one["values"])
    low, high = one["min"], one["max"]
    match one["distribution"]:
        case "uniform":
            return random.uniform(low, high)
        case "int_uniform":
            return random.randint(low, high)
        case "log_uniform_values":
            return exp(random.uniform(log(low), log(high)))
        case "q_log_uniform_values":
            return float(round(exp(random.uniform(log(low), log(high)))))
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("names", [*((name,) for name in recipes()), recipes()], ids=lambda names: names[-1])
def test_what_a_sweep_of_a_recipe_draws_is_a_configuration(
    names: tuple[str, ...], schema: jsonschema.Draft7Validator
) -> None:
    settings = settings_of(*names)
    sweep = driving_sweep(settings, {"data": "digits"}, "random")
    schema.validate(sweep)
    numbers = random.Random(0)
    for _ in range(50):
        drawn = {name: draw(one, numbers) for name, one in sweep["parameters"].items()}
        recipe, values = drawn_by(drawn, settings.recipes)
        space = configuration(space_of(recipe), values)
        assert type(space) is space_of(recipe)
        for name, domain in settings.domains(recipe).items():
            assert getattr(space, name) in domain
    early = sweep["early_terminate"]
    assert (early["type"], early["min_iter"], early["eta"]) == ("hyperband", 3, 3)


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (Float(0.1, 0.5), {"distribution": "uniform", "min": 0.1, "max": 0.5}),
        (Float(1e-4, 1e-1, log=True), {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}),
        (Int(1, 4), {"distribution": "int_uniform", "min": 1, "max": 4}),
        (Int(16, 128, log=True), {"distribution": "q_log_uniform_values", "q": 1, "min": 16, "max": 128}),
        (Int(3, 3), {"value": 3}),
        (Choice(("a", "b")), {"values": ["a", "b"]}),
        (Choice((5,)), {"value": 5}),
    ],
)
def test_a_domain_is_a_parameter_with_its_ends_and_its_scale(domain: Domain, expected: dict[str, Any]) -> None:
    assert parameter(domain) == expected


@pytest.mark.parametrize(
    ("domains", "expected"),
    [
        ([Float(0.1, 0.5), Float(0.3, 0.9)], Float(0.1, 0.9)),
        ([Float(1e-4, 1e-1, log=True), Float(1e-3, 1.0, log=True)], Float(1e-4, 1.0, log=True)),
        ([Float(1e-4, 1e-1, log=True), Float(0, 1)], Float(0, 1)),
        ([Int(1, 4), Int(2, 9)], Int(1, 9)),
        ([Int(1, 4), Float(0.5, 2)], Float(0.5, 4)),
        ([Choice(("a", "b")), Choice(("b", "c"))], Choice(("a", "b", "c"))),
        ([Choice((0.01,)), Float(0.1, 0.5)], Float(0.01, 0.5)),
        ([Int(1, 4), Choice((8,))], Int(1, 8)),
        ([Choice(("none",)), Int(1, 4)], Choice(("none", 1, 4))),
    ],
)
def test_a_field_of_several_recipes_is_one_parameter_over_all(domains: list[Domain], expected: Domain) -> None:
    assert joined(domains) == expected
    if not isinstance(expected, Choice):
        assert joined(reversed(domains)) == expected


def test_rounding_is_forgiven_and_nothing_else() -> None:
    mlp = space_of("mlp")
    low = mlp.domains()["lr"].low
    assert configuration(mlp, {"lr": low * (1 - 1e-12), "width": 63.99999}) == mlp.parse({"lr": low, "width": 64})
    with pytest.raises(InputError, match="outside its domain"):
        configuration(mlp, {"lr": low / 2})
    with pytest.raises(InputError, match="no field 'wdith'"):
        configuration(mlp, {"wdith": 64})


def test_a_sweep_that_draws_another_recipe_is_refused() -> None:
    with pytest.raises(InputError, match="gives recipe 'resnet'; write its file anew: toprung sweep knn mlp"):
        drawn_by({"recipe": "resnet"}, ["knn", "mlp"])
    assert drawn_by({"recipe": "knn", "knn.neighbors": 3, "mlp.lr": 0.1}, ["knn", "mlp"]) == ("knn", {"neighbors": 3})


def test_flags_go_on_to_the_trials(schema: jsonschema.Draft7Validator) -> None:
    settings = settings_of("mlp", set={"mlp.width": "64|128"}, max_epochs=9)
    flags = {"data": "/a b", "set": settings.set, "normalize_classes": True, "split": (0.6, 0.2, 0.2)}
    command = driving_sweep(settings, flags, "bayes")["command"]
    assert command[command.index("--sweep-trial") + 1 :] == [
        "--data", "/a b", "--set", "mlp.width=64|128", "--normalize-classes", "--split", "0.6,0.2,0.2",
    ]  # fmt: skip


def test_a_grid_has_lists_alone(schema: jsonschema.Draft7Validator) -> None:
    with pytest.raises(InputError, match=r"--method grid: lr is a range, not a list; give bayes or random, or list"):
        driving_sweep(settings_of("mlp"), {}, "grid")


def test_a_sweep_that_was_changed_by_hand_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["sweep", "knn"]) == 0
    Path("sweep.yaml").write_text("mine: true\n")
    capsys.readouterr()
    assert main(["sweep", "knn"]) == 2
    assert capsys.readouterr().err == (
        "toprung: --output sweep.yaml: the file exists and holds something else; delete it, or choose another\n"
    )
    assert Path("sweep.yaml").read_text() == "mine: true\n"
