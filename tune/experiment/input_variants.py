"""The input variants of a search and of its preset's published rows, and the folders of their data."""

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
    """An input variant and the side of its images. Without `image_size`, the main input variant's side is used."""

    variant: Variant
    image_size: int | None


Cards = Mapping[View, Mapping[str, Any]]
"""The descriptions of the data (`data.json`), by input variant."""


def main_view(settings: Settings) -> View:
    """Return the search's main input variant: whole images if it uses both. All input variants share its split."""
    return View(settings.variants[0], settings.image_size)


def shown_to(space: Space, settings: Settings) -> View:
    """Return the input variant of a configuration."""
    return View(space.input_variant, settings.image_size)


def searched_views(settings: Settings) -> list[View]:
    """Return the input variants that trials may have, by the domains of each recipe."""
    domains = (settings.domains(recipe)["input_variant"] for recipe in settings.recipes)
    variants = dict.fromkeys(variant for domain in domains for variant in _variants(domain))
    return [View(variant, settings.image_size) for variant in variants]


def spec_of(settings: Settings, view: View) -> DataSpec:
    """Return the specification of the data that settings name, in one input variant."""
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
    """Return the published rows to run: those whose recipe a person has not left out."""
    return {name: row for name, row in preset.rows.items() if row.recipe in settings.recipes}


def restricted(preset: Preset, row: Row, settings: Settings) -> Domains:
    """Return the domains that a person restricts a row's fields to. The preset's own domains are for the search."""
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
    """Return the input variants of a row's configurations, the first configuration's first."""
    space = space_of(row.recipe)
    domains = {**space.domains(), **restricted(preset, row, settings)}
    return list(dict.fromkeys(space.parse(one).within(domains).input_variant for one in row.candidates()))


def eval_variant_of(preset: Preset, row: Row, settings: Settings) -> Variant | None:
    """Return the input variant that a row is evaluated on, or None if it is the one that the row is trained on."""
    if row.eval_variant is None:
        return None
    allowed = restricted(preset, row, settings).get("input_variant", Choice((row.eval_variant,)))
    return _variants(allowed)[0] if row.eval_variant not in allowed else row.eval_variant


def size_of(row: Row, settings: Settings) -> int | None:
    """Return the side of a row's images, no larger than the settings ask for."""
    return min((size for size in (row.image_size, settings.image_size) if size is not None), default=None)


def views_of_row(preset: Preset, row: Row, settings: Settings) -> list[View]:
    """Return the input variants of a row: its configurations', the first one's first, and the one for evaluation."""
    evaluated = eval_variant_of(preset, row, settings)
    variants = [*variants_of(preset, row, settings), *([evaluated] if evaluated else [])]
    return [View(variant, size_of(row, settings)) for variant in dict.fromkeys(variants)]


def views_of(preset: Preset | None, settings: Settings) -> list[View]:
    """Return the input variants of the search and of all rows, the search's main one first.

    Raises:
        InputError: a column of boxes is named, but no input variant uses boxes.
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
    """Return the folder of the data as in `view`: the experiment's own for the main one, one in views/ for others."""
    if view == main_view(experiment.settings):
        return experiment.folder
    return experiment.folder / "views" / (f"{view.variant}-{view.image_size}" if view.image_size else view.variant)


def folders_of(experiment: Experiment, views: list[View]) -> dict[Variant, str]:
    """Return the folders of `views`, which have one size, by variant, as trials get them."""
    return {view.variant: str(folder_of(experiment, view)) for view in views}


def _variants(domain: Any) -> tuple[Variant, ...]:
    assert isinstance(domain, Choice)
    return domain.options  # type: ignore[return-value]
