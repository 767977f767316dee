"""The search space in Optuna's define-by-run form, conditions included."""

from typing import cast

from optuna.trial import Trial

from search_spaces import Choice, Domain, Domains, Float, Int, Space, Value, holds


def suggest(trial: Trial, recipe: str, space: type[Space], domains: Domains) -> Space:
    """Draw a configuration of `space` within `domains`; parameters are named `recipe.field`.

    A field is no parameter if its conditions do not hold, or if it has only one value.
    """
    active: dict[str, Value] = {}
    for name, conditions in space.conditions().items():
        if holds(conditions, active):
            active[name] = _draw(trial, f"{recipe}.{name}", domains[name])
    return space.of(active)


def parameters(recipe: str, configuration: Space, domains: Domains) -> dict[str, Value]:
    """Return the Optuna parameters with which `suggest` draws `configuration`."""
    return {f"{recipe}.{k}": v for k, v in configuration.active().items() if _only(domains[k]) is None}


def _draw(trial: Trial, name: str, domain: Domain) -> Value:
    value = _only(domain)
    if value is not None:
        return value
    match domain:
        case Float(low, high, log=log):
            return trial.suggest_float(name, low, high, log=log)
        case Int(low, high, log=log):
            return trial.suggest_int(name, low, high, log=log)
        case Choice(options):
            return cast(Value, trial.suggest_categorical(name, options))


def _only(domain: Domain) -> Value | None:
    """Return the value of a domain that has only one, else None."""
    if isinstance(domain, Choice):
        return domain.options[0] if len(domain.options) == 1 else None
    return domain.low if domain.low == domain.high else None


def values_of(domain: Domain) -> tuple[Value, ...]:
    """Return all values of a finite domain, or an empty tuple for an infinite one."""
    only = _only(domain)
    if only is not None:
        return (only,)
    match domain:
        case Choice(options):
            return options
        case Int(low, high):
            return tuple(range(low, high + 1))
    return ()
