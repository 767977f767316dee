"""Several experiments side by side as a page, and as a table for a terminal."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from rich.table import Table
from rich.text import Text

from trainables.training.metrics import Metric, shown_metrics
from tune.reporting.command import command
from tune.reporting.comparison import Contender, SideBySide, unranked, untestable
from tune.reporting.differences import configurations, data_of, environments_that_differ, settings_that_differ
from tune.reporting.figures.comparison import progress, winners_by_cost
from tune.reporting.formatting import NOTHING, TIMES, counted, differences, duration, interval, metric
from tune.reporting.leaderboard import columns_of, leaderboard
from tune.reporting.leaderboard_text import RowText, board, difference_text, rows
from tune.reporting.page.rendering import Bar, Figures, bars, render

REPORT_PAGE = "report/index.html"


@dataclass(frozen=True, kw_only=True)
class ExperimentRow:
    """An experiment's line; a missing figure is a dash."""

    rank: str
    contender: Contender
    link: str | None
    val: str
    accuracy: str
    accuracy_interval: str
    against: str
    against_what: str
    bar: Bar | None
    elsewhere: bool
    tested: str
    trials: str
    epochs: str
    time: str
    won: bool


@dataclass(frozen=True, kw_only=True)
class RecipeRow:
    """A recipe's line among those of all experiments; `row` is that of its own leaderboard."""

    rank: str
    contender: Contender
    row: RowText
    bar: Bar | None
    elsewhere: bool


def comparison_table(side: SideBySide) -> Table:
    """Return a table of the experiments, best on top; it fits into 80 columns."""
    table = board(
        "experiment",
        "winner",
        f"val\n{_metric_of(side)}",
        f"{_tested_on(side)}\naccuracy",
        f"images\n{TIMES} seeds",
        "trials",
        "time",
        left=("experiment", "winner"),
    )
    for group in side.groups:
        for contender in group:
            row = _row(side, contender, None, None)
            cells = (
                contender.name,
                contender.chosen,
                row.val,
                f"{row.accuracy}\n{row.accuracy_interval}",
                row.tested,
                row.trials,
                row.time,
            )
            table.add_row(*map(Text, cells), style="bold" if row.won else "")
        table.add_section()
    return table


def comparison_page(side: SideBySide, folder: Path) -> str:
    """Return the page as HTML; links to experiments' reports are relative to `folder`, the page's own folder."""
    figures = Figures()
    notes = {
        "progress": figures.place("progress", progress(side.all, "trials")),
        "cost": figures.place("cost", winners_by_cost(side.all)),
    }
    for against in ("epochs", "time"):
        figures.place(f"progress-{against}", progress(side.all, against))
    best = side.best
    other_metric = [contender.name for contender in side.all if contender.metric != side.all[0].metric]
    return render(
        "compare.html",
        figures,
        names=[contender.name for contender in side.all],
        best=best,
        answer=side.answer(),
        runner_up=side.runner_up(),
        warnings=side.warnings(),
        facts=_facts(side),
        metric_name=_metric_of(side),
        tested_on=_tested_on(side),
        reference=side.reference,
        board=_board(side, folder),
        columns=_columns(side),
        recipes=_recipes(side),
        notes=notes,
        other_metric=other_metric,
        settings=settings_that_differ(side.all),
        environments=environments_that_differ(side.all),
        data=data_of(side.all),
        same_data=len({contender.results.card["digest"] for contender in side.all}) == 1,
        configurations=configurations(side.all),
        commands=[
            (contender.name, command(contender.results.settings, contender.results.preset), _link(contender, folder))
            for contender in side.all
        ],
    )


def _metric_of(side: SideBySide) -> str:
    """Return the metric of all experiments, or a placeholder if there are several."""
    metrics = {contender.metric for contender in side.all}
    return metrics.pop() if len(metrics) == 1 else "metric"


def _tested_on(side: SideBySide) -> str:
    """Return the split that all experiments were tested on, or a placeholder if there are two."""
    splits = {contender.results.tested_on for contender in side.all}
    return splits.pop() if len(splits) == 1 else "test or val"


def _facts(side: SideBySide) -> list[tuple[str, str]]:
    """Return the facts shown beside the answer."""
    facts = []
    if side.best and side.best.test:
        test = side.best.test
        facts = [
            ("winner", side.best.chosen),
            (f"val {side.best.metric}", metric(side.best.val)),
            ("tested on", f"{counted(test.n, 'image')}, {counted(len(test.seeds), 'seed')}"),
            ("search", counted(len(side.best.results.records), "trial")),
            ("took", side.best.took),
        ]
    trials = sum(len(contender.results.records) for contender in side.all)
    took = sum(contender.results.seconds for contender in side.all)
    return [*facts, ("all together", f"{len(side.all)} experiments, {counted(trials, 'trial')}, {duration(took)}")]


def _board(side: SideBySide, folder: Path) -> list[tuple[str, list[ExperimentRow]]]:
    """Return the lines of the experiments by group, with the reason why a group is not ranked with the first."""
    drawn = dict(zip(_names(side), bars([each.test.accuracy if each.test else None for each in side.all]), strict=True))
    return [
        (
            unranked(group[0], side.all[0]),
            [_row(side, contender, drawn[contender.name], _link(contender, folder)) for contender in group],
        )
        for group in side.groups
    ]


def _row(side: SideBySide, contender: Contender, bar: Bar | None, link: str | None) -> ExperimentRow:
    test, results = contender.test, contender.results
    against = side.against.get(contender.name)
    apart = untestable(contender, side.all[0]) if test else ""
    if against:
        text, what = difference_text(against.comparison), differences(against.comparison.difference)
        what = what if side.reference else f"{what} against {against.name}"
    else:
        text, what = ("not comparable", f"other {results.tested_on} images") if apart else (NOTHING, "")
    val = metric(contender.val)
    return ExperimentRow(
        rank=side.ranks[contender.name],
        contender=contender,
        link=link,
        val=val if _metric_of(side) == contender.metric else f"{val}\n{contender.metric}",
        accuracy=metric(test.accuracy.mean) if test else NOTHING,
        accuracy_interval=interval(test.accuracy) if test else "",
        against=text,
        against_what=what,
        bar=bar,
        elsewhere=bool(apart),
        tested=f"{test.n} {TIMES} {len(test.seeds)}" if test else NOTHING,
        trials=f"{len(results.records):,}",
        epochs=counted(contender.epochs, "epoch"),
        time=contender.took,
        won=contender is side.best,
    )


def _recipes(side: SideBySide) -> list[tuple[str, list[RecipeRow]]]:
    """Return the lines of all recipes of all experiments, by the same groups."""
    tests = [entry.test for each in side.all for entry in each.report.recipes.values()]
    drawn = iter(bars([test.accuracy if test else None for test in tests]))
    bar_of = {(each.name, recipe): next(drawn) for each in side.all for recipe in each.report.recipes}
    columns = _columns(side)
    found = []
    for group in side.groups:
        entries = [
            (contender, row, contender.report.recipes[row.recipe])
            for contender in group
            for row in rows(replace(leaderboard(contender.report), columns=columns))
        ]
        entries.sort(key=lambda each: each[0].rank(each[2]))
        lines = [
            RecipeRow(
                rank=str(rank) if entry.test else NOTHING,
                contender=contender,
                row=row,
                bar=bar_of[contender.name, row.recipe],
                elsewhere=bool(entry.test and untestable(contender, side.all[0])),
            )
            for rank, (contender, row, entry) in enumerate(entries, start=1)
        ]
        found.append((unranked(group[0], side.all[0]), lines))
    return found


def _columns(side: SideBySide) -> list[Metric]:
    """Return the metrics that any of the leaderboards shows."""
    shown = {column.name for contender in side.all for column in columns_of(contender.report)}
    return [metric for metric in shown_metrics() if metric.name in shown]


def _names(side: SideBySide) -> list[str]:
    return [contender.name for contender in side.all]


def _link(contender: Contender, folder: Path) -> str | None:
    """Return the link from a folder to an experiment's own page; None if the page is in a bucket or was not written."""
    experiment = contender.results.experiment
    page = experiment.folder / REPORT_PAGE
    if experiment.url or not page.is_file():
        return None
    return quote(os.fsencode(os.path.relpath(page.resolve(), folder.resolve())))
