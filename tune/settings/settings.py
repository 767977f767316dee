"""The settings of a search: typed, frozen and validated."""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from search_spaces import Choice, Domain, InputError, Variant, add_recipes, narrow, recipes, space_of
from tune.settings.groups import (
    DataSettings,
    DisplaySettings,
    FinalSettings,
    Mark,
    PlaceSettings,
    RecipeSettings,
    ResourceSettings,
    SearchSettings,
    WandbSettings,
)
from tune.settings.milestones import milestones
from tune.settings.objective import Objective
from tune.settings.parsing import absolute, has_password, items

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Settings(  # pydantic orders the fields from the last base to the first
    WandbSettings,
    DisplaySettings,
    FinalSettings,
    ResourceSettings,
    PlaceSettings,
    SearchSettings,
    RecipeSettings,
    DataSettings,
):
    """The settings of a search."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, title="settings")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.recipes:
            raise ValueError(f"--recipes: none given; there are: {', '.join(recipes())}")
        if len(set(self.recipes)) < len(self.recipes):
            raise ValueError(f"--recipes {','.join(self.recipes)}: names one twice; name each once")
        for key in self.set:
            recipe, dot, _ = key.partition(".")
            if not dot:
                raise ValueError(f"--set {key}: is not recipe.field; write for instance knn.neighbors=5")
            space_of(recipe)
            if recipe not in self.recipes:
                searched = ", ".join(self.recipes)
                raise ValueError(f"--set {key}: is of a recipe that is not searched; these are: {searched}")
        for recipe in self.recipes:
            self.domains(recipe)
        if has_password(self.storage):
            raise ValueError(
                "--storage has a password in its URL, which would be kept with the settings; leave it out, and give it "
                "by PGPASSWORD, ~/.pgpass or a service file (postgresql:///?service=NAME)"
            )
        if self.rows_only and not self.preset:
            raise ValueError("--rows-only: there are no rows without a preset; add --preset NAME")
        if self.name and not NAME.fullmatch(self.name):
            raise ValueError(
                f"--name {self.name!r}: cannot name a folder; use up to 64 letters, digits, '.', '_' and '-'"
            )
        if self.gpus_per_trial is not None and self.gpus_per_trial > 1:
            raise ValueError(
                f"--gpus-per-trial {self.gpus_per_trial:g}: a trial trains on one GPU at most, as a search gains more "
                "from trials side by side; give 1 or a part of 1"
            )
        if self.cpus_per_trial > 1 and self.cpus_per_trial != int(self.cpus_per_trial):
            raise ValueError(f"--cpus-per-trial {self.cpus_per_trial:g}: cores cannot be parted; use a whole number")
        return self

    def domains(self, recipe: str) -> dict[str, Domain]:
        """Return the searched domains of a recipe: those of its space, narrowed or widened by `set`.

        Raises:
            InputError: an unknown field, or a value outside its domain.
        """
        space = space_of(recipe)
        domains = {**space.searched(), "input_variant": Choice(self.variants)}
        for key, text in self.set.items():
            owner, _, name = key.partition(".")
            if owner == recipe:
                domains[name] = narrow(space, name, text)
        return domains

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The input variants that trials may use, unless `set` restricts those of a recipe."""
        return ("whole", "box") if self.variant == "either" else (self.variant,)

    @property
    def objective(self) -> Objective:
        """The metric that is optimized on val, and its direction."""
        return Objective.of(self.metric)

    @property
    def seeds_of_finals(self) -> list[int]:
        """The seeds with which a finalist is trained again."""
        return list(range(self.seed, self.seed + self.final_seeds))

    @property
    def milestones(self) -> list[int]:
        """The milestones, which are the epochs of the rungs."""
        return milestones(self.grace_period, self.reduction_factor, self.max_epochs)

    def given_for_wandb(self) -> list[str]:
        """Return the W&B settings that a person has given, other than `wandb` itself."""
        fields = WandbSettings.model_fields
        return [name for name in fields if name != "wandb" and getattr(self, name) != fields[name].default]

    def dump(self) -> str:
        """Return the settings as YAML that `load` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


GROUPS: tuple[type[BaseModel], ...] = tuple(reversed(Settings.__bases__))
"""The groups in the order of the help and of a settings file."""


def marked(*marks: Mark) -> tuple[str, ...]:
    """Return the names of the settings that have one of the marks, in the order of the groups."""
    return tuple(name for name, field in Settings.model_fields.items() if set(marks) & {*field.metadata})


def make(values: Mapping[str, Any]) -> Settings:
    """Validate settings; if they have no name, make one of data set and time.

    Recipes in the folders that `recipes` and `recipes_from` name become known to this process.

    Raises:
        InputError: in one line, the value, the rule and the way out.
    """
    try:
        settings = Settings(**_with_folders(values))
    except ValidationError as error:
        raise InputError("; ".join(_explain(e) for e in error.errors())) from None
    if settings.name:
        return settings
    kind, _, path = settings.data.partition(":")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", kind if path else Path(kind).name).strip("-._") or "data"
    return settings.model_copy(update={"name": f"{stem[:40]}-{datetime.now():%Y%m%d-%H%M%S}"})


def _with_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace folders in `recipes` by the names of their recipes, and add the folders to `recipes_from`."""
    given, folders = _texts(values.get("recipes", ())), _texts(values.get("recipes_from", ()))
    if given is None or folders is None:
        return dict(values)  # validation refuses its type
    known = {absolute(folder): add_recipes(folder, "--recipes-from") for folder in folders}
    names: list[str] = []
    for name in given:
        if not _is_folder(name):
            names.append(name)
            continue
        known[absolute(name)] = add_recipes(name)
        names += [recipe for recipe in known[absolute(name)] if recipe not in given]
    changed: dict[str, Any] = {"recipes": tuple(names)} if "recipes" in values else {}
    return {**values, **changed, **({"recipes_from": tuple(known)} if known else {})}


def _texts(value: object) -> list[str] | None:
    """Return a list of texts, also from text with commas; None for anything else."""
    parts = items(value)
    return list(parts) if isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts) else None


def _is_folder(recipe: str) -> bool:
    """Return True if the name is a folder of recipes: only paths contain slashes or begin with . or ~."""
    return recipe.startswith((".", "~")) or "/" in recipe or os.sep in recipe


def _explain(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    flag = "--" + str(error["loc"][0]).replace("_", "-")
    rule = message[0].lower() + message[1:]
    return f"{flag} {error['input']!r}: {rule}"
