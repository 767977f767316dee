"""Series of the trials, drawn by Plotly for the page and by Matplotlib for the pictures of `report.md`."""

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tune.experiment.trial_record import TrialRecord
from tune.reporting.formatting import unit_of
from tune.reporting.results import Results

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808080")
"""Okabe and Ito's colors for all kinds of color vision, without the two that vanish on white or black."""

OPACITY = {"complete": 0.75, "pruned": 0.38, "failed": 0.38, "running": 0.75}
CROWD = 40
"""With more trials, their curves are fainter."""
ENOUGH_POINTS = 20
"""With fewer points, all are in sight."""
LARGEST_VALUE = 1e30

NO_EPOCH = "No trial has finished an epoch yet."
NO_VALUE = "No trial has a value yet."
NO_TIMES = "When trials ended was not noted."

Against = Literal["trials", "epochs", "time"]


def colour(results: Results, recipe: str) -> str:
    """Return the color of a recipe in all figures."""
    return PALETTE[results.settings.recipes.index(recipe) % len(PALETTE)]


def dashed(results: Results, recipe: str) -> bool:
    """Return True if a recipe's lines are dashed because an earlier recipe has the same color."""
    return results.settings.recipes.index(recipe) >= len(PALETTE)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A trial's learning curve.

    `best` is True if the trial represents its recipe. A value that is not a number is None.
    """

    record: TrialRecord
    epochs: list[float]
    values: list[float | None]
    best: bool
    opacity: float


def learning(results: Results) -> dict[str, list[Curve]]:
    """Return the learning curves by recipe, if there are any, in drawing order: the best is last, on top."""
    crowd = min(1.0, (CROWD / max(1, len(results.records))) ** 0.5)
    found = {}
    for recipe in results.settings.recipes:
        best = results.best(recipe)
        records = [record for record in results.of(recipe) if record.epochs]
        records.sort(key=lambda record: (record is best, record.state in ("complete", "running")))
        if records:
            found[recipe] = [
                Curve(
                    record=record,
                    epochs=[epoch["epoch"] for epoch in record.epochs],
                    values=[rounded(epoch.get(results.settings.metric)) for epoch in record.epochs],
                    best=record is best,
                    opacity=1 if record is best else OPACITY[record.state] * crowd,
                )
                for record in records
            ]
    return found


def epochs_title(results: Results) -> str:
    """Return the title of the axis of learning curves."""
    rungs = (
        f" (dotted: rungs at {', '.join(map(str, results.settings.milestones))})" if results.settings.milestones else ""
    )
    return f"epoch{rungs}"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Values of a recipe's trials, with their places on the axis, and the steps of the best so far."""

    records: list[TrialRecord]
    places: list[float]
    values: list[float | None]
    step_places: list[float]
    step_values: list[float | None]


def progress(results: Results, against: Against) -> tuple[dict[str, Progress], str] | str:
    """Return progress by recipe and the title of the axis, or a sentence if there is nothing to draw.

    A trial's place is, against trials, the number of trials begun before it; against epochs, the number of epochs
    trained by its end; against time, the time of its end.
    """
    places = places_of(results.records, against)
    if not places:
        return NO_TIMES if results.records else NO_VALUE
    title, unit = axis_of(against, max(places.values()))
    places = {number: place / unit for number, place in places.items()}
    found = {}
    for recipe in results.settings.recipes:
        records = [r for r in results.of(recipe) if rounded(r.value) is not None and r.state != "failed"]
        records = sorted((r for r in records if r.number in places), key=lambda r: places[r.number])
        if not records:
            continue
        values = [record.value for record in records if record.value is not None]
        best = results.settings.objective.best_so_far(values)
        own = [places[record.number] for record in records]
        found[recipe] = Progress(
            records=records,
            places=own,
            values=[rounded(record.value) for record in records],
            step_places=[*own, max(places.values())],
            step_values=[rounded(value) for value in (*best, best[-1])],
        )
    return (found, title) if found else NO_VALUE


def places_of(records: list[TrialRecord], against: Against) -> dict[int, float]:
    """Return each trial's place on the axis, by its number; times are in seconds. Empty if they were not recorded."""
    if against == "trials":
        return {record.number: record.number for record in records}
    ends = {record.number: record.heard[max(record.heard)].at for record in records if record.heard}
    if not ends:
        return {}
    if against == "epochs":
        moments = sorted(heard.at for record in records for heard in record.heard.values())
        return {number: bisect_right(moments, end) for number, end in ends.items()}
    first = min(heard.at - r.epochs[epoch - 1]["seconds"] for r in records for epoch, heard in r.heard.items())
    return {number: end - first for number, end in ends.items()}


def axis_of(against: Against, longest: float) -> tuple[str, float]:
    """Return the title of the axis, and its unit in the counts or seconds of `places_of`."""
    return {"trials": ("trial", 1.0), "epochs": ("epochs trained", 1.0), "time": unit_of(longest)}[against]


def window_of(results: Results, values: Iterable[float | None]) -> tuple[float, float] | None:
    """Return the part of the axis where trials differ, including every recipe's best."""
    bests = [record.value for recipe in results.settings.recipes if (record := results.best(recipe))]
    return window(values, bests, maximize=results.settings.objective.maximize)


def window(
    values: Iterable[float | None], bests: Iterable[float | None], *, maximize: bool
) -> tuple[float, float] | None:
    """Return the part of the axis where lines differ; some points worse than all of `bests` may lie outside.

    Return None with so few points that all can be in sight.
    """
    points = [value for value in values if value is not None]
    if len(points) < ENOUGH_POINTS:
        return None
    low, high = min(points), max(points)
    tops = [top for best in bests if (top := rounded(best)) is not None]
    if maximize:
        low = min(float(np.quantile(points, 1 / 4)), *tops, high)
    else:
        high = max(float(np.quantile(points, 3 / 4)), *tops, low)
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def step_of(count: int) -> int:
    """Return the distance between ticks of an axis of epochs or trials."""
    return max(1, math.ceil(count / 10))


def rounded(value: float | None) -> float | None:
    """Round to five digits, which are enough to draw; return None for NaN and values too large for an axis."""
    return float(f"{value:.5g}") if value is not None and abs(value) < LARGEST_VALUE else None
