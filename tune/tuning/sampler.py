"""The sampler's own data: a study in memory for each recipe, made from the study on disk.

TPE divides all trials of a study into good and bad ones. If all recipes shared one study, a recipe that is good at once
would supply all of the good ones, and the others would be drawn blindly. Separate studies also let the sampler see
something else than the disk records: a diverged trial is FAIL on disk but the worst of the PRUNED here. TPE ignores
failures; the pruned trial makes it keep away from that configuration.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from search_spaces import Choice, Domains, Space, Value, space_of
from tune.experiment.trial_record import TrialRecord
from tune.tuning.optuna_space import parameters, suggest, values_of

MAX_REPEATED_DRAWS = 100
"""Draws in a row without a new configuration, after which a recipe is exhausted unless its space can be listed."""

MAX_LISTED = 10_000
"""The largest number of configurations of a space that is listed as a whole."""


@dataclass(frozen=True)
class Draw:
    """A configuration that was not tried yet, with Optuna's record of its draw."""

    recipe: str
    config: dict[str, Value]
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]


class RecipeSampler:
    """A sampler by TPE over the trials told so far, which proposes configurations of one recipe or of several.

    Given the same trials, seed and position, it makes the same proposal. A resumed search therefore continues like an
    uninterrupted one: all of the sampler's state is also in the study on disk.
    """

    def __init__(
        self,
        domains: Mapping[str, Domains],
        starts: Mapping[str, Sequence[Space]],
        *,
        seed: int,
        startup: int,
        maximize: bool,
    ) -> None:
        self._domains = domains
        defaults = [(recipe, space_of(recipe).default(own)) for recipe, own in domains.items()]
        otherwise = ((recipe, other) for recipe, one in defaults for other in _seen_otherwise(one, domains[recipe]))
        self._starts = [*defaults, *otherwise]
        self._starts += [(recipe, start) for recipe in domains for start in starts.get(recipe, ())]
        self._seed, self._startup = seed, startup
        self._study = optuna.create_study(direction="maximize" if maximize else "minimize")
        self._running: dict[int, int] = {}

    def draw(self, position: int, tried: set[str]) -> Draw | None:
        """Draw a configuration whose `fingerprint` is not in `tried`; None if nothing new is found.

        The default point of each recipe comes first. Next is the same point with the other input variant, if that is
        searched, and then the other starting points. `position` is the number that the trial will have.
        """
        for recipe, start in self._starts:
            if fingerprint(recipe, start.active()) not in tried:
                self._study.enqueue_trial(self._parameters(recipe, start))
                break
        for attempt in range(MAX_REPEATED_DRAWS):
            drawn = self._ask(position, attempt, tried)
            if drawn:
                return drawn
        left = self._left(tried)
        if not left:
            return None
        self._study.enqueue_trial(left[seed_of(self._seed, position) % len(left)])
        return self._ask(position, MAX_REPEATED_DRAWS, tried)

    def _parameters(self, recipe: str, configuration: Space) -> dict[str, Any]:
        """Return the Optuna parameters with which `_ask` draws a configuration."""
        which = {"recipe": recipe} if len(self._domains) > 1 else {}
        return {**which, **parameters(recipe, configuration, self._domains[recipe])}

    def _left(self, tried: set[str]) -> list[dict[str, Any]]:
        """Return the parameters of untried configurations in a small finite space; none if it is large or infinite."""
        left: dict[str, dict[str, Any]] = {}
        for recipe, domains in self._domains.items():
            options = [values_of(domain) for domain in domains.values()]
            if not all(options) or prod(map(len, options)) > MAX_LISTED:
                continue
            for values in product(*options):
                space = space_of(recipe).of(dict(zip(domains, values, strict=True)))
                left[fingerprint(recipe, space.active())] = self._parameters(recipe, space)
        return [params for key, params in left.items() if key not in tried]

    def _ask(self, position: int, attempt: int, tried: set[str]) -> Draw | None:
        numbers = (self._seed, position, attempt)
        # if TPE repeats itself, find the rest at random
        self._study.sampler = (
            _tpe(self._startup, numbers) if attempt < MAX_REPEATED_DRAWS // 2 else RandomSampler(seed=seed_of(*numbers))
        )
        trial = self._study.ask()
        recipes = list(self._domains)
        recipe = trial.suggest_categorical("recipe", recipes) if len(recipes) > 1 else recipes[0]
        config = suggest(trial, recipe, space_of(recipe), self._domains[recipe]).active()
        if fingerprint(recipe, config) in tried:
            self._study.tell(trial, state=TrialState.FAIL)  # TPE ignores failures
            return None
        self._running[position] = trial.number
        return Draw(recipe, config, trial.params, trial.distributions)

    def began(self, record: TrialRecord) -> None:
        """Add a running trial that an earlier process drew."""
        self._study.add_trial(
            create_trial(state=TrialState.RUNNING, params=record.params, distributions=record.distributions)
        )
        self._running[record.number] = len(self._study.get_trials(deepcopy=False)) - 1

    def ended(self, record: TrialRecord) -> None:
        """Add a trial that has ended, in place of the running one."""
        if record.number in self._running:
            self._study.tell(self._running.pop(record.number), state=TrialState.FAIL)
        if record.state == "failed" and not record.diverged:
            return
        self._study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if record.state == "complete" else TrialState.PRUNED,
                value=None if record.diverged else record.value,
                params=record.params,
                distributions=record.distributions,
                intermediate_values={} if record.diverged else record.values,
            )
        )


def fingerprint(recipe: str, config: Mapping[str, Value]) -> str:
    """Return the identity of a configuration: recipe and active fields. Trials with the same one are duplicates."""
    return f"{recipe} {sorted(config.items())}"


def seed_of(*numbers: int) -> int:
    """Derive a seed from numbers; other numbers give independent seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)


def _tpe(startup: int, numbers: tuple[int, ...]) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # group: conditional fields are modeled separately
        return TPESampler(n_startup_trials=startup, multivariate=True, group=True, seed=seed_of(*numbers))


def _seen_otherwise(default: Space, domains: Domains) -> list[Space]:
    """Return a default point with each other input variant: random draws would not isolate that difference."""
    variants = domains["input_variant"]
    assert isinstance(variants, Choice)
    others = [variant for variant in variants.options if variant != default.input_variant]
    return [default.within({**domains, "input_variant": Choice((variant,))}) for variant in others]
