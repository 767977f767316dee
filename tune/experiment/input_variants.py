"""What models are shown of the images: of a search, and of the rows of its preset; and where those data lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces import Choice, Domain, Domains, InputError, Space, Variant, narrow, space_of
from trainables.data import DataSpec
from tune.experiment.folder import Experiment
from tune.settings.preset import Preset, Row
from tune.settings.settings import Settings


@dataclass(frozen=True)
class View:
    """What models are shown of the images; without `image_size` the side that the search's main view has."""

    variant: Variant
    image_size: int | None


Cards = Mapping[View, Mapping[str, Any]]
"""What the data are (`data.json`), by view."""


def main_view(settings: Settings) -> View:
    """What the search is shown, of whole images and boxes the whole; its split is that of all views."""
    return View(settings.variants[0], settings.image_size)


def shown_to(space: Space, settings: Settings) -> View:
    """What a trial is shown."""
    return View(space.input_variant, settings.image_size)


def searched_views(settings: Settings) -> list[View]:
    """What trials may be shown, each recipe's by its domains."""
    domains = (settings.domains(recipe)["input_variant"] for recipe in settings.recipes)
    variants = dict.fromkeys(variant for domain in domains for variant in _variants(domain))
    return [View(variant, settings.image_size) for variant in variants]


def spec_of(settings: Settings, view: View) -> DataSpec:
    """The data that settings name, as a view shows them."""
    return DataSpec(
        source=settings.data,
        image_size=view.image_size,
        variant=view.variant,
        image_column=settings.image_column,
        label_column=settings.label_column,
        box_column=settings.box_column if view.variant == "box" else None,
        normalize_classes=settings.normalize_classes,
        drop_unseen_classes=settings.drop_unseen_classes,
        split=settings.split,
        group_by=settings.group_by,
        limit=settings.limit,
        seed=settings.seed,
        on_bad_image=settings.on_bad_image,
    )


def rows_of(preset: Preset, settings: Settings) -> dict[str, Row]:
    """The rows that are run: those of the recipes that a person has not left out."""
    return {name: row for name, row in preset.rows.items() if row.recipe in settings.recipes}


def restricted(preset: Preset, row: Row, settings: Settings) -> Domains:
    """What a person leaves a row of the fields; what its preset says of them is for the search."""
    space = space_of(row.recipe)
    domains: dict[str, Domain] = {}
    if settings.variant != preset.variant:
        domains["input_variant"] = Choice(settings.variants)
    for key, text in settings.set.items():
        recipe, _, field = key.partition(".")
        if recipe == row.recipe and preset.set.get(key) != text:
            domains[field] = narrow(space, field, text)
    return domains


def variants_of(preset: Preset, row: Row, settings: Settings) -> list[Variant]:
    """What a row's configurations are shown, the first's first."""
    space = space_of(row.recipe)
    domains = {**space.domains(), **restricted(preset, row, settings)}
    return list(dict.fromkeys(space.parse(one).within(domains).input_variant for one in row.candidates()))


def eval_variant_of(preset: Preset, row: Row, settings: Settings) -> Variant | None:
    """What a row is evaluated on where that is not what it is trained on."""
    if row.eval_variant is None:
        return None
    allowed = restricted(preset, row, settings).get("input_variant", Choice((row.eval_variant,)))
    return _variants(allowed)[0] if row.eval_variant not in allowed else row.eval_variant


def size_of(row: Row, settings: Settings) -> int | None:
    """The side of the images that a row is shown, no larger than what the settings ask for."""
    return min((size for size in (row.image_size, settings.image_size) if size is not None), default=None)


def views_of_row(preset: Preset, row: Row, settings: Settings) -> list[View]:
    """What a row is shown, that of its first configuration first, and what it is evaluated on."""
    evaluated = eval_variant_of(preset, row, settings)
    variants = [*variants_of(preset, row, settings), *([evaluated] if evaluated else [])]
    return [View(variant, size_of(row, settings)) for variant in dict.fromkeys(variants)]


def views_of(preset: Preset | None, settings: Settings) -> list[View]:
    """What the search and all rows are shown, the search's main view first.

    Raises:
        InputError: a column of boxes is named, but none is looked at.
    """
    rows = rows_of(preset, settings).values() if preset else ()
    shown = [view for row in rows if preset for view in views_of_row(preset, row, settings)]
    views = list(dict.fromkeys([main_view(settings), *searched_views(settings), *shown]))
    if settings.box_column is not None and all(view.variant == "whole" for view in views):
        raise InputError(
            f"--box-column {settings.box_column}: no box is looked at; leave it out, or add --variant box or either"
        )
    return views


def folder_of(experiment: Experiment, view: View) -> Path:
    """Where the data lie as `view` shows them: those of the main view in the experiment's folder, others in views/."""
    if view == main_view(experiment.settings):
        return experiment.folder
    return experiment.folder / "views" / (f"{view.variant}-{view.image_size}" if view.image_size else view.variant)


def folders_of(experiment: Experiment, views: list[View]) -> dict[Variant, str]:
    """The same of views of one size, by variant, as trials are given it."""
    return {view.variant: str(folder_of(experiment, view)) for view in views}


def _variants(domain: Any) -> tuple[Variant, ...]:
    assert isinstance(domain, Choice)
    return domain.options  # type: ignore[return-value]
