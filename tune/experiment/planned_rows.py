"""The published rows of a preset, adapted to the data and to what a person asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces import DataShape, InputError, Space, Value, Variant, space_of
from trainables.data import read_card
from trainables.data.spec import shares_text
from tune.experiment.experiment import Experiment
from tune.experiment.input_variants import (
    Cards,
    InputVariant,
    eval_variant_of,
    folder_of,
    input_variants_of,
    input_variants_of_row,
    restricted,
    rows_of,
)
from tune.settings.preset import Preset, Row
from tune.settings.settings import Settings


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """A published row as it can be run on these data with these settings.

    Attributes:
        name, row: the name of the row, and the row as published.
        candidates: the active fields of each configuration; there is only one unless the row has a grid.
        epochs: the number of epochs to train.
        input_variants: its input variants, the first configuration's first, with the one for evaluation.
        eval_variant: the input variant for evaluation; None for the one that it is trained on.
        changes: the differences from the publication, a phrase each.
    """

    name: str
    row: Row
    candidates: list[dict[str, Value]]
    epochs: int
    input_variants: list[InputVariant]
    eval_variant: Variant | None
    changes: list[str]

    @property
    def folder(self) -> str:
        """The folder of the row's result in an experiment, once there is a result."""
        return f"rows/{self.name}"


def planned_rows(experiment: Experiment) -> list[PlannedRow]:
    """Return the rows of an experiment that was begun; none if it began without a preset."""
    preset, settings = experiment.preset, experiment.settings
    if preset is None:
        return []
    cards = {
        input_variant: read_card(folder_of(experiment, input_variant))
        for input_variant in input_variants_of(preset, settings)
    }
    return plan(preset, settings, cards)


def plan(preset: Preset, settings: Settings, cards: Cards) -> list[PlannedRow]:
    """Return the rows of a preset, adapted to the data and to what a person has asked for.

    Raises:
        InputError: a row asks for something that the data do not have.
    """
    return [_planned(preset, settings, cards, name, row) for name, row in rows_of(preset, settings).items()]


def _planned(preset: Preset, settings: Settings, cards: Cards, name: str, row: Row) -> PlannedRow:
    input_variants = input_variants_of_row(preset, row, settings)
    card = cards[input_variants[0]]
    if row.train_on == "train+val" and not card["images"]["test"]:
        raise InputError(f"--split: row {name} is trained on train and val, but there is no test split; leave it some")
    space = space_of(row.recipe)
    domains = space.clamped(DataShape(**card["shape"]), {**space.domains(), **restricted(preset, row, settings)})
    asked = [space.parse(candidate) for candidate in row.candidates()]
    found = {str(one): one for one in (candidate.within(domains) for candidate in asked)}
    moved = list(dict.fromkeys(change for one in asked for change in _moved(one, one.within(domains))))
    eval_variant = eval_variant_of(preset, row, settings)
    if eval_variant != row.eval_variant:
        moved.append(f"val and test {eval_variant}, not {row.eval_variant}")
    epochs = _epochs(preset, row, settings)
    return PlannedRow(
        name=name,
        row=row,
        candidates=[one.active() for one in found.values()],
        epochs=epochs,
        input_variants=input_variants,
        eval_variant=eval_variant,
        changes=[
            *row.changes,
            *moved,
            *_scaled(preset, row, settings, epochs, input_variants[0]),
            *_other_data(preset, settings, card),
        ],
    )


def _moved(asked: Space, given: Space) -> Iterator[str]:
    """Yield the fields of a row whose published values the data or the person do not allow."""
    before, now = asked.active(), given.active()
    for field, value in before.items():
        if field in now and now[field] != value:
            yield f"{field} {now[field]}, not {value}"


def _epochs(preset: Preset, row: Row, settings: Settings) -> int:
    """Return the epochs of a row, which a person may reduce. The preset's own limit is for its search."""
    return min(row.epochs, settings.max_epochs) if settings.max_epochs < preset.max_epochs else row.epochs


def _scaled(preset: Preset, row: Row, settings: Settings, epochs: int, input_variant: InputVariant) -> Iterator[str]:
    """Yield what a person has made smaller."""
    if epochs < row.epochs:
        yield f"{epochs} of {row.epochs} epochs"
    size = row.image_size or preset.settings.get("image_size")
    if size is not None and input_variant.image_size != size:
        yield f"images of {input_variant.image_size} pixels, not {size}"
    if settings.limit:
        yield f"at most {settings.limit} images of train{', and val' if row.train_on == 'train+val' else ''}"


def _other_data(preset: Preset, settings: Settings, card: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a person has put in place of the data and the seed that a preset names."""
    images = sum(card["images"].values()) + card["images_left_out"]
    if preset.images is not None and images != preset.images:
        yield f"{images:,} images, not {preset.images:,}"
    dealt = Settings.model_validate({key: preset.settings[key] for key in ("split", "seed") if key in preset.settings})
    if settings.split != dealt.split:
        yield f"split {shares_text(settings.split)}, not {shares_text(dealt.split)}"
    if "seed" in preset.settings and settings.seed != dealt.seed:
        yield f"seed {settings.seed}, not {dealt.seed}"
