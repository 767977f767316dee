"""The pictures of `report.md`: the page's Plotly figures, for places that cannot open a page."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from tune.experiment.report_json import PublishedFigure, Report
from tune.reporting import published_rows as _published
from tune.reporting.figures.canvas import (
    GRID,
    LINE,
    RIGHT,
    TEXT,
    WIDTH,
    WRONG,
    clean,
    count_along,
    legend,
    lines_high,
    name_lines,
    numbers,
    png,
    whisker,
)
from tune.reporting.figures.classes import LONGEST_LABEL, confused_pairs, shades
from tune.reporting.figures.series import colour, dashed, epochs_title, learning, progress, step_of, window_of
from tune.reporting.formatting import counted, interval, metric
from tune.reporting.leaderboard import leaderboard
from tune.reporting.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES_HIGH = 400
LONGEST_TITLE = 34
LETTER = 8
"""The approximate width of a letter in pixels."""
WIDEST_CELL = 66
DARK = 0.6
"""Cells with a larger share of correct predictions have white figures."""

PLOTS = ("published", "leaderboard", "curves", "progress", "confusion")
"""The names of all possible pictures."""


@dataclass(frozen=True)
class Plot:
    """A picture: its description in words, and its PNG file."""

    alt: str
    content: bytes


def file_of(name: str) -> str:
    """Return the path of a picture in an experiment's folder."""
    return f"report/{name}.png"


def plots(results: Results, report: Report) -> dict[str, Plot]:
    """Draw the pictures, by name; leave out those with nothing to draw."""
    drawn = {
        "published": _rows(report),
        "leaderboard": _leaderboard(results, report),
        "curves": _curves(results),
        "progress": _progress(results),
        "confusion": _confusion(results, report),
    }
    return {name: plot for name, plot in drawn.items() if plot}


def _rows(report: Report) -> Plot | None:
    """Draw published and measured figures of published rows, for the metrics from 0 to 1."""
    every = [(entry.title, line) for entry in report.rows.values() for line in _published.first_figures(entry)]
    shown = [(title, line) for title, line in every if line.metric != "loss" and _has_figure(line)]
    if not shown:
        return None
    metrics, splits = (list(dict.fromkeys(getattr(line, key) for _, line in shown)) for key in ("metric", "split"))

    def name(title: str, line: PublishedFigure) -> str:
        on = [line.split] * (len(splits) > 1) + [line.metric] * (len(metrics) > 1)
        return f"{clean(title, LONGEST_TITLE)}{', ' if on else ''}{' '.join(on)}"

    def draw(axes: "Axes") -> None:
        for place, (_, line) in enumerate(shown):
            if line.measured is not None and line.low is not None and line.high is not None:
                whisker(axes, place, line.measured, (line.low, line.high), RIGHT)
            if line.published is not None:
                axes.plot(line.published, place, "D", color=WRONG, markerfacecolor="none", markersize=7)
        axes.plot([], [], "D", color=WRONG, markerfacecolor="none", markersize=7, label="published")
        axes.plot([], [], "o", color=RIGHT, markersize=7, label="measured, with its 95% interval")
        name_lines(axes, [name(title, line) for title, line in shown])
        axes.set_xlabel(" or ".join(metrics) if len(splits) > 1 else f"{splits[0]} {' or '.join(metrics)}")
        legend(axes)

    titles = counted(len({title for title, _ in shown}), "row")
    alt = f"published beside measured {' or '.join(metrics)} on {' and '.join(splits)}, with 95% intervals, of {titles}"
    return Plot(alt, png(draw, lines_high(len(shown)) + LINE))


def _has_figure(line: PublishedFigure) -> bool:
    return line.published is not None or line.measured is not None


def _leaderboard(results: Results, report: Report) -> Plot | None:
    """Draw the test accuracy of each recipe's best; the winner is on top."""
    shown = [(row, row.test.accuracy) for row in leaderboard(report).rows if row.test]
    if not shown:
        return None
    figures = [f"{metric(accuracy.mean)} ({interval(accuracy)})" for _, accuracy in shown]

    def draw(axes: "Axes") -> None:
        for place, (row, accuracy) in enumerate(shown):
            whisker(axes, place, accuracy.mean, (accuracy.low, accuracy.high), colour(results, row.recipe))
        name_lines(axes, [clean(f"{row.recipe} {row.sees}", LONGEST_TITLE) for row, _ in shown], figures)
        axes.set_xlabel(f"{report.tested_on} accuracy, with its 95% interval")

    told = "; ".join(f"{row.recipe} {figure}" for (row, _), figure in zip(shown, figures, strict=True))
    alt = f"{report.tested_on} accuracy of each recipe's best with its 95% interval: {told}"
    return Plot(alt, png(draw, lines_high(len(shown))))


def _curves(results: Results) -> Plot | None:
    """Draw the learning curves of all trials, with the rungs."""
    found = learning(results)
    values = [value for curves in found.values() for curve in curves for value in curve.values]
    if not any(value is not None for value in values):
        return None

    def draw(axes: "Axes") -> None:
        for recipe, curves in found.items():
            for curve in curves:
                axes.plot(
                    curve.epochs,
                    numbers(curve.values),
                    marker="o" if len(curve.epochs) < 3 else None,
                    markersize=4.3,
                    linewidth=2.2 if curve.best else 1,
                    alpha=curve.opacity,
                    zorder=3 if curve.best else 2,
                    **_line(results, recipe),
                )
            axes.plot([], [], linewidth=2.2, label=recipe, **_line(results, recipe))
        for epoch in results.settings.milestones:
            axes.axvline(epoch, color="gray", linewidth=0.8, linestyle=":", zorder=1)
        longest = max(epoch for curves in found.values() for curve in curves for epoch in curve.epochs)
        count_along(axes, longest, step_of(results.settings.max_epochs))
        axes.set_ylim(window_of(results, values))
        axes.set_xlabel(epochs_title(results))
        axes.set_ylabel(f"val {results.settings.metric}")
        axes.grid(axis="y")
        legend(axes)

    alt = f"val {results.settings.metric} by epoch of every trial{_bests(results)}"
    return Plot(alt, png(draw, CURVES_HIGH))


def _progress(results: Results) -> Plot | None:
    """Draw each trial's value and each recipe's best so far, by number of trial."""
    found = progress(results, "trials")
    if isinstance(found, str):
        return None
    of_recipes, title = found

    def draw(axes: "Axes") -> None:
        for recipe, own in of_recipes.items():
            line = _line(results, recipe)
            axes.plot(own.places, numbers(own.values), "o", color=line["color"], alpha=0.45, markersize=5, mew=0)
            steps = numbers(own.step_values)
            axes.plot(own.step_places, steps, drawstyle="steps-post", linewidth=1.9, label=recipe, **line)
        count_along(axes, len(results.records) - 1, step_of(len(results.records)))
        values = [value for own in of_recipes.values() for value in (*own.values, *own.step_values)]
        axes.set_ylim(window_of(results, values))
        axes.set_xlabel(title)
        axes.set_ylabel(f"best val {results.settings.metric} so far")
        axes.grid(axis="y")
        legend(axes)

    alt = f"best val {results.settings.metric} by number of trial{_bests(results)}"
    return Plot(alt, png(draw, CURVES_HIGH))


def _line(results: Results, recipe: str) -> dict[str, Any]:
    return {"color": colour(results, recipe), "linestyle": "--" if dashed(results, recipe) else "-"}


def _bests(results: Results) -> str:
    """Describe the best value of each recipe in words."""
    bests = ((recipe, results.best(recipe)) for recipe in results.settings.recipes)
    told = [f"{recipe} {metric(best.value)} in trial {best.number}" for recipe, best in bests if best]
    return f"; the best: {', '.join(told)}" if told else ""


def _confusion(results: Results, report: Report) -> Plot | None:
    """Draw the confusion matrix of the winner; return None with too many classes to read."""
    winner, entry = report.winner, report.best
    found = shades(results, entry) if entry else None
    if entry is None or found is None:
        return None
    counts, shares = found
    names = [clean(name, LONGEST_LABEL) for name in results.classes]
    longest = LETTER * max(map(len, names))
    wide = min(WIDEST_CELL, (WIDTH - longest - 40) / len(names))
    upright = longest > wide

    def draw(axes: "Axes") -> None:
        axes.imshow(_painted(shares), aspect=LINE / wide, interpolation="none")
        for row, column in np.argwhere(counts):
            text = str(counts[row, column])
            ink = "white" if shares[row, column] > DARK else TEXT
            size = min(9.4, 1.1 * wide / len(text))
            axes.text(column, row, text, color=ink, size=size, ha="center", va="center_baseline")
        places = range(len(names))
        axes.set_xticks(places, names, color=TEXT, rotation=90 if upright else 0)
        axes.set_yticks(places, names, color=TEXT)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_anchor("NW")
        axes.spines[:].set_visible(False)
        for edge in np.arange(len(names) + 1) - 0.5:
            axes.axhline(edge, color=GRID, linewidth=0.8)
            axes.axvline(edge, color=GRID, linewidth=0.8)

    alt = f"confusion matrix of {winner} on {report.tested_on}, seed {entry.median_seed}"
    for pair in confused_pairs(results, entry, top=1):
        alt += f"; most often {pair.true} was taken for {pair.predicted}: {counted(pair.images, 'image')}"
    return Plot(alt, png(draw, 60 + LINE * len(names) + (longest if upright else 0)))


def _painted(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return pixels (rows, columns, 3): correct predictions and mistakes in two colors; smaller shares are whiter."""
    strength = np.abs(shares)[..., None]
    pure = np.where(shares[..., None] >= 0, ImageColor.getrgb(RIGHT), ImageColor.getrgb(WRONG))
    return np.asarray((strength * pure + (1 - strength) * 255).round(), np.uint8)
