"""The input variants of a search and of its preset's published rows, and the folders of their data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces import Choice, Domain, Domains, InputError, Space, Variant, narrow, space_of
from trainables.data import DataSpec
from tune.experiment.experiment import Experiment
from tune.settings.preset import Preset, Row
from tune.settings.settings import Settings


@dataclass(frozen=True)
class InputVariant:
    """An input variant and the side of its images. Without `image_size`, the main input variant's side is used."""

    kind: Variant
    image_size: int | None


Cards = Mapping[InputVariant, Mapping[str, Any]]
"""The descriptions of the data (`data.json`), by input variant."""


def main_input_variant(settings: Settings) -> InputVariant:
    """Return the search's main input variant: whole images if it uses both. All input variants share its split."""
    return InputVariant(settings.variants[0], settings.image_size)


def shown_to(space: Space, settings: Settings) -> InputVariant:
    """Return the input variant of a configuration."""
    return InputVariant(space.input_variant, settings.image_size)


def searched_input_variants(settings: Settings) -> list[InputVariant]:
    """Return the input variants that trials may have, by the domains of each recipe."""
    domains = (settings.domains(recipe)["input_variant"] for recipe in settings.recipes)
    variants = dict.fromkeys(variant for domain in domains for variant in _variants(domain))
    return [InputVariant(variant, settings.image_size) for variant in variants]


def spec_of(settings: Settings, input_variant: InputVariant) -> DataSpec:
    """Return the specification of the data that settings name, in one input variant."""
    return DataSpec(
        source=settings.data,
        image_size=input_variant.image_size,
        variant=input_variant.kind,
        image_column=settings.image_column,
        label_column=settings.label_column,
        box_column=settings.box_column if input_variant.kind == "box" else None,
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


def input_variants_of_row(preset: Preset, row: Row, settings: Settings) -> list[InputVariant]:
    """Return the input variants of a row: its configurations', the first one's first, and the one for evaluation."""
    evaluated = eval_variant_of(preset, row, settings)
    variants = [*variants_of(preset, row, settings), *([evaluated] if evaluated else [])]
    return [InputVariant(variant, size_of(row, settings)) for variant in dict.fromkeys(variants)]


def input_variants_of(preset: Preset | None, settings: Settings) -> list[InputVariant]:
    """Return the input variants of the search and of all rows, the search's main one first.

    Raises:
        InputError: a column of boxes is named, but no input variant uses boxes.
    """
    rows = rows_of(preset, settings).values() if preset else ()
    shown = [input_variant for row in rows if preset for input_variant in input_variants_of_row(preset, row, settings)]
    input_variants = list(dict.fromkeys([main_input_variant(settings), *searched_input_variants(settings), *shown]))
    if settings.box_column is not None and all(input_variant.kind == "whole" for input_variant in input_variants):
        raise InputError(
            f"--box-column {settings.box_column}: no box is looked at; leave it out, or add --variant box or either"
        )
    return input_variants


def folder_of(experiment: Experiment, input_variant: InputVariant) -> Path:
    """Return the folder of an input variant's data: the experiment's own for the main one, one in views/ for others."""
    if input_variant == main_input_variant(experiment.settings):
        return experiment.folder
    return (
        experiment.folder
        / "views"
        / (f"{input_variant.kind}-{input_variant.image_size}" if input_variant.image_size else input_variant.kind)
    )


def folders_of(experiment: Experiment, input_variants: list[InputVariant]) -> dict[Variant, str]:
    """Return the folders of `input_variants`, which have one size, by variant, as trials get them."""
    return {input_variant.kind: str(folder_of(experiment, input_variant)) for input_variant in input_variants}


def _variants(domain: Any) -> tuple[Variant, ...]:
    assert isinstance(domain, Choice)
    return domain.options  # type: ignore[return-value]
