"""The leaderboard as text: rows of formatted figures for page and Markdown, and a table for a terminal."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from trainables.training.metrics import Metric
from tune.experiment.report_figures import Comparison, Interval, TestMetric
from tune.experiment.report_json import Report
from tune.reporting.formatting import NOTHING, TIMES, differences, interval, metric, signed, spread
from tune.reporting.leaderboard import Leaderboard, LeaderboardRow, columns_of, distinguishable, leaderboard

MAX_HEADING_LETTERS = 11
"""The most letters in a line of a heading in the terminal: as many as an interval has."""


@dataclass(frozen=True, kw_only=True)
class MetricText:
    """A metric's mean, its standard deviation between seeds, and its interval; what is unknown is a dash or empty."""

    mean: str
    std: str
    interval: str


@dataclass(frozen=True, kw_only=True)
class RowText:
    """A recipe's line as text; a missing figure is a dash. Only tested recipes have a rank."""

    rank: str
    recipe: str
    sees: str
    val: str
    metrics: list[MetricText]
    against: str
    against_interval: str
    tested: str
    trials: str
    won: bool


@dataclass(frozen=True, kw_only=True)
class EnsembleText:
    """An ensemble's line as text."""

    mean_of: str
    models: str
    val: str
    metrics: list[MetricText]
    against: str
    against_interval: str


def rows(board: Leaderboard) -> list[RowText]:
    """Return the lines of a leaderboard as text."""
    return [_row(board, row) for row in board.rows]


def headings(board: Leaderboard) -> list[str]:
    """Return the column headings of a leaderboard in text."""
    return [
        "rank",
        "recipe",
        f"val {board.metric}",
        *_metric_headings(board.columns, board.tested_on),
        "against the winner's accuracy",
        f"images {TIMES} seeds",
        "complete/pruned/failed",
    ]


def cells(row: RowText) -> list[str]:
    """Return a line under `headings`."""
    return [
        row.rank,
        f"{row.recipe} {row.sees}".strip(),
        row.val,
        *(cell for each in row.metrics for cell in (f"{each.mean} {each.std}".strip(), each.interval)),
        f"{row.against} {row.against_interval}".strip(),
        row.tested,
        row.trials,
    ]


def leaderboard_table(report: Report) -> Table:
    """Return the recipes of a report, winner on top, those without finals below; fits into 80 columns."""
    found = leaderboard(report)
    table = board(
        "#",
        "recipe",
        f"val\n{found.metric}",
        *(f"{found.tested_on}\n" + "\n".join(wrap(column.label, MAX_HEADING_LETTERS)) for column in found.columns),
        f"images\n{TIMES} seeds",
        "complete/\npruned/\nfailed",
        left=("recipe",),
        gap=1 if len(found.columns) > 2 else 2,  # else recipes have no room in 80 columns
    )
    for row in rows(found):
        accuracy, *others = row.metrics
        lines = (
            row.rank,
            f"{row.recipe}\n{row.sees}".strip(),
            row.val,
            f"{accuracy.mean} {accuracy.std}\n{accuracy.interval}",
            *(f"{each.mean}\n{each.interval}" for each in others),
            row.tested,
            row.trials.replace(" + ", "\n+ "),
        )
        table.add_row(*map(Text, lines), style="bold" if row.won else "")
    return table


def board(*headings: str, left: Collection[str], gap: Literal[1, 2] = 2) -> Table:
    """Return a table whose headings may have several lines; columns in `left` hold words that may be folded."""
    table = Table(box=SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), pad_edge=False)
    highest = max(heading.count("\n") for heading in headings)
    for heading in headings:
        justify: Literal["left", "right"] = "left" if heading in left else "right"
        above = "\n" * (highest - heading.count("\n"))
        table.add_column(Text(above + heading), justify=justify, no_wrap=heading not in left, overflow="fold")
    return table


def ensembles(report: Report) -> list[EnsembleText]:
    """Return the lines of the ensembles."""
    columns = columns_of(report)
    return [
        EnsembleText(
            mean_of=entry.mean_of,
            models=", ".join(f"{recipe} {TIMES} {count}" for recipe, count in entry.models.items()),
            val=metric(entry.val[report.metric]),
            metrics=_metrics(columns, entry.test.metrics),
            against=difference_text(entry.against_winner),
            against_interval=differences(entry.against_winner.difference),
        )
        for entry in report.ensembles
    ]


def ensemble_headings(report: Report) -> list[str]:
    """Return the column headings of ensembles in text."""
    return ["mean of", "models", *headings(leaderboard(report))[2:-2]]


def ensemble_cells(row: EnsembleText) -> list[str]:
    """Return a line under `ensemble_headings`."""
    return [
        row.mean_of,
        row.models,
        row.val,
        *(cell for each in row.metrics for cell in (each.mean, each.interval)),
        f"{row.against} {row.against_interval}",
    ]


def difference_text(against: Comparison | None) -> str:
    """Format a difference of accuracies for a cell; a difference that is not beyond chance has no number."""
    if against is None:
        return NOTHING
    return signed(against.difference.mean) if distinguishable(against) else "not distinguishable"


def _metric_headings(columns: Sequence[Metric], tested_on: str) -> list[str]:
    """Return two headings for each metric: of its mean, the first one with the split, and of its interval."""
    first, *others = (column.label for column in columns)
    return [heading for label in (f"{tested_on} {first}", *others) for heading in (label, "95% interval")]


def _row(board: Leaderboard, row: LeaderboardRow) -> RowText:
    trials, test = row.trials, row.test
    running = f" + {trials.running} unfinished" if trials.running else ""
    return RowText(
        rank=str(row.place) if test else NOTHING,
        recipe=row.recipe,
        sees=row.sees,
        val=metric(row.val),
        metrics=_metrics(board.columns, test.metrics if test else {}),
        against=difference_text(row.against),
        against_interval=differences(row.against.difference) if row.against else "",
        tested=f"{test.n} {TIMES} {len(test.seeds)}" if test else NOTHING,
        trials=f"{trials.complete}/{trials.pruned}/{trials.failed}{running}",
        won=row.won,
    )


def _metrics(columns: Sequence[Metric], measured: Mapping[str, Interval]) -> list[MetricText]:
    return [_metric(measured.get(column.name)) for column in columns]


def _metric(found: Interval | None) -> MetricText:
    if found is None:
        return MetricText(mean=NOTHING, std="", interval=NOTHING)
    std = spread(found) if isinstance(found, TestMetric) else ""
    return MetricText(mean=metric(found.mean), std=std, interval=interval(found))
