"""Search spaces as W&B sweeps: one that displays a search's trials, and one that drives trials by itself."""

import shlex
from collections.abc import Iterable, Mapping
from functools import reduce
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces import Choice, Domain, Float, InputError, Int, Space
from search_spaces.space.space import domain_of
from tune.experiment.epoch_log import BEST
from tune.settings.settings import Settings

if TYPE_CHECKING:
    from tune.experiment.experiment import Experiment

RUN = "tune/run.py"


def shown_sweep(experiment: "Experiment") -> dict[str, Any]:
    """Return the sweep in which W&B displays the trials of a search; it has no part in choosing them.

    A field that several recipes have is one parameter, over the union of their searched domains.
    """
    settings = experiment.settings
    domains: dict[str, list[Domain]] = {}
    for recipe in settings.recipes:
        for name, domain in experiment.domains(recipe).items():
            domains.setdefault(name, []).append(domain)
    parameters = {name: parameter(joined(own)) for name, own in domains.items()}
    return {
        "name": settings.name,
        "method": "custom",
        "metric": _metric(settings),
        "parameters": {"recipe": {"values": list(settings.recipes)}, **parameters},
    }


def driving_sweep(settings: Settings, flags: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the sweep by which W&B chooses configurations, each of which an agent trains.

    W&B knows no conditions: it always draws every parameter, and a trial uses those that matter in it. With several
    recipes, parameters are called RECIPE.FIELD, as in --set.

    Args:
        settings: the source of recipes, ranges and stopping rule.
        flags: the settings that a person gave, by name; trials get the same.
        method: bayes, random or grid.

    Raises:
        InputError: a grid of a parameter that has no finite number of values.
    """
    parameters: dict[str, Any] = {"recipe": {"values": list(settings.recipes)}}
    for recipe in settings.recipes:
        for name, domain in settings.domains(recipe).items():
            parameters[name if len(settings.recipes) == 1 else f"{recipe}.{name}"] = parameter(domain)
    if method == "grid" and (ranges := [name for name, one in parameters.items() if "max" in one]):
        raise InputError(
            f"--method grid: {ranges[0]} is a range, not a list; give bayes or random, or list the values of "
            f"each by --set RECIPE.{ranges[0].rpartition('.')[2]}=a|b"
        )
    words = [word for name, value in flags.items() for word in _flag(name, value)]
    # in a checkout as its users know it; elsewhere by the installed command
    program = ["${interpreter}", "${program}"] if Path(RUN).is_file() else ["toprung", "search"]
    return {
        "name": settings.name,
        "project": settings.wandb_project,
        **({"entity": settings.wandb_entity} if settings.wandb_entity else {}),
        "program": RUN,
        "command": ["${env}", *program, "--sweep-trial", *words],
        "method": method,
        "metric": _metric(settings),
        "run_cap": settings.trials,
        "early_terminate": {
            "type": "hyperband",
            "min_iter": settings.grace_period,
            "eta": settings.reduction_factor,
            "strict": True,
        },
        "parameters": parameters,
    }


def parameter(domain: Domain) -> dict[str, Any]:
    """Return a domain as a parameter of a sweep; both ends of its ranges are inclusive, as here."""
    match domain:
        case Choice((only,)):
            return {"value": only}
        case Choice(options):
            return {"values": list(options)}
        case Float(low, high) | Int(low, high) if low == high:
            return {"value": low}
        case Float(low, high, log=True):
            return {"distribution": "log_uniform_values", "min": low, "max": high}
        case Float(low, high):
            return {"distribution": "uniform", "min": low, "max": high}
        case Int(low, high, log=True):
            return {"distribution": "q_log_uniform_values", "q": 1, "min": low, "max": high}
        case Int(low, high):
            return {"distribution": "int_uniform", "min": low, "max": high}


def joined(domains: Iterable[Domain]) -> Domain:
    """Return a domain that contains all of these."""
    return reduce(_joined, domains)


def _joined(one: Domain, other: Domain) -> Domain:
    if isinstance(one, Choice) and isinstance(other, Choice):
        return Choice(tuple(dict.fromkeys((*one.options, *other.options))))
    if isinstance(one, Choice):
        one, other = other, one
    assert not isinstance(one, Choice)
    if isinstance(other, Choice) and any(isinstance(option, str) for option in other.options):
        return Choice(tuple(dict.fromkeys((*other.options, one.low, one.high))))
    ends = [float(end) for end in (other.options if isinstance(other, Choice) else (other.low, other.high))]
    low, high = min(one.low, *ends), max(one.high, *ends)
    log = low > 0 and (one.log or (not isinstance(other, Choice) and other.log))
    if isinstance(one, Int) and all(end.is_integer() for end in ends) and not isinstance(other, Float):
        return Int(int(low), int(high), log=log)
    return Float(low, high, log=log)


def _metric(settings: Settings) -> dict[str, str]:
    return {"name": BEST, "goal": settings.objective.direction}


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if name == "set":
        return [word for key, text in value.items() for word in (flag, f"{key}={text}")]
    if value is True:
        return [flag]
    return [flag, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]


def configuration(space: type[Space], values: Mapping[str, Any]) -> Space:
    """Make a configuration of a sweep's values; numbers that rounding moved out of their ranges are moved back.

    Raises:
        InputError: an unknown field, or a value that is outside its domain by more than rounding.
    """
    moved = dict(values)
    for name, value in values.items():
        domain = domain_of(space, name)
        if isinstance(domain, Int) and isinstance(value, float):
            moved[name] = round(value)
        elif isinstance(domain, Float) and isclose(value, nearest := float(domain.nearest(value))):
            moved[name] = nearest
    return space.parse(moved)


def drawn_by(values: Mapping[str, Any], recipes: Iterable[str]) -> tuple[str, dict[str, Any]]:
    """Return the recipe that a sweep has drawn, and the values for its fields.

    Raises:
        InputError: the sweep has drawn no recipe, or one that it does not name.
    """
    names = list(recipes)
    recipe = values.get("recipe")
    if recipe not in names:
        raise InputError(f"the sweep gives recipe {recipe!r}; write its file anew: toprung sweep {shlex.join(names)}")
    own = {key.removeprefix(f"{recipe}."): value for key, value in values.items() if key.startswith(f"{recipe}.")}
    others = {key: value for key, value in values.items() if "." not in key and key != "recipe"}
    return str(recipe), own or others
