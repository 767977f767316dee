"""The published rows of a preset: published values beside measured ones, as data, text and figures."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Literal

from plotly.graph_objects import Figure, Scatter
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tune.experiment.planned_rows import PlannedRow
from tune.experiment.report_figures import Interval
from tune.experiment.report_json import PublishedFigure, RowReport
from tune.finals.finalists import Final, Finalist
from tune.finals.intervals import intervals
from tune.finals.published_rows import result_of
from tune.reporting.figures.series import PALETTE, step_of
from tune.reporting.formatting import NOTHING, ends, metric, plotly_text, setting
from tune.reporting.results import Results, of_images, on_test, source

MIXED = "trained in bfloat16 on a GPU, convolutions channels-last"
"""A change of rows trained in mixed precision: no publication reports it for its networks."""


def row_report(results: Results, row: PlannedRow) -> RowReport:
    """Return a published row of the report; unmeasured values are null."""
    final = result_of(row, results.experiment)
    planned = RowReport(
        title=row.row.title,
        recipe=row.row.recipe,
        train_on=row.row.train_on,
        epochs=row.epochs,
        eval_variant=row.eval_variant,
        changes=row.changes,
        published_best=row.row.published_best,
        figures=list(_figures(results, row, final)),
    )
    if final is None:
        return planned
    per_class, confusion = of_images(final.labels, final.predictions, results.classes)
    measured = {
        "changes": [*row.changes, *([MIXED] if final.mixed else [])],
        "config": final.config,
        "weights": results.weights_of(row.row.recipe, final.config),
        "seconds": final.seconds + sum(score.seconds for score in final.scores),
        "scores": final.scores,
        "test": on_test(Finalist(finals=[final])),
        "per_class": per_class,
        "confusion": confusion,
    }
    return planned.model_copy(update=measured)


def _figures(results: Results, row: PlannedRow, final: Final | None) -> Iterator[PublishedFigure]:
    """Yield each published figure, or accuracy if none was published."""
    tested = results.tested_on
    unknown: dict[Literal["test", "val"], dict[str, float | None]] = {tested: {"accuracy": None}}
    for split, figures in (row.row.published or unknown).items():
        measured = _measured(final, split, tested) if final else {}
        for name, value in figures.items():
            found = measured.get(name)
            yield PublishedFigure(
                split=split,
                metric=name,
                published=value,
                measured=found.mean if found else None,
                low=found.low if found else None,
                high=found.high if found else None,
                inside=found.low <= value <= found.high if found and value is not None else None,
            )


def _measured(final: Final, split: str, tested: str) -> dict[str, Interval]:
    """Return metrics on a split with their intervals; none if the split is missing or was trained on."""
    if split == tested:
        return intervals([final.on_test])
    return intervals([final.on_val]) if split == "val" and final.val else {}


def headings() -> list[str]:
    """Return the column headings of the table in text."""
    return ["row", "split", "metric", "published", "measured", "95% interval", "difference", "inside"]


def cells(entry: RowReport) -> list[list[str]]:
    """Return a published row's lines under `headings`; only the first has its title."""
    return [[entry.title if i == 0 else "", *_cells(line)] for i, line in enumerate(entry.figures)]


def _cells(line: PublishedFigure) -> list[str]:
    published, measured, low, high = line.published, line.measured, line.low, line.high
    return [
        line.split,
        line.metric,
        metric(published),
        metric(measured),
        NOTHING if low is None or high is None else ends(low, high),
        NOTHING if published is None or measured is None else f"{measured - published:+.4f}",
        {True: "yes", False: "no", None: NOTHING}[line.inside],
    ]


def first_figures(entry: RowReport) -> list[PublishedFigure]:
    """Return a published row's lines for the first metric on each split."""
    firsts: dict[str, PublishedFigure] = {}
    for line in entry.figures:
        firsts.setdefault(line.split, line)
    return list(firsts.values())


def changes(entries: Collection[RowReport]) -> tuple[list[str], list[list[str]]]:
    """Return the deviations from the publication: those of all rows alike, if there are several, and each row's own."""
    if len(entries) < 2:
        return [], [entry.changes for entry in entries]
    first, *others = (entry.changes for entry in entries)
    common = [change for change in first if all(change in other for other in others)]
    return common, [[change for change in entry.changes if change not in common] for entry in entries]


def not_as_published(entries: Collection[RowReport]) -> list[str]:
    """Describe the deviations from the publication: one line for all rows, and one for each row with its own."""
    common, own = changes(entries)
    titles = ["all rows", *(entry.title for entry in entries)]
    return [f"{title}: {'; '.join(said)}" for title, said in zip(titles, [common, *own], strict=True) if said]


def pretrained(entries: Iterable[RowReport]) -> list[str]:
    """Describe the pretrained weights of published rows, or their absence; rows with the same weights share a line."""
    titles: defaultdict[str, list[str]] = defaultdict(list)
    for entry in entries:
        if weights := source(entry):
            titles[weights].append(entry.title)
    return [f"{'; '.join(rows)}: {weights}" for weights, rows in titles.items()]


def chosen(entries: Iterable[RowReport]) -> list[str]:
    """Describe the choice of cross-validation for each published row with a grid, beside the published choice."""
    lines = []
    for entry in entries:
        if entry.scores and entry.config:
            asked = [score.config for score in entry.scores]
            varied = [name for name in entry.config if len({config.get(name) for config in asked}) > 1]
            published = ", ".join(f"{name} {setting(value)}" for name, value in entry.published_best.items())
            line = ", ".join(f"{name} {setting(entry.config[name])}" for name in varied) or "the only one left"
            lines.append(f"{entry.title}: {line}" + (f" (published: {published})" if published else ""))
    return lines


def published_table(entries: list[RowReport]) -> Table:
    """Return published and measured figures for a terminal of 80 columns: each row's first metric on each split.

    A star after a difference marks a published figure outside the measured interval.
    """
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("row", "accuracy\non", "published", "measured", "95%\ninterval", "difference "):
        left = heading in ("row", "accuracy\non")
        above = "" if "\n" in heading else "\n"
        table.add_column(Text(above + heading), justify="left" if left else "right", overflow="fold")
    for entry in entries:
        shown = entry.title
        for first in first_figures(entry):
            split, name, published, measured, interval, difference, _ = _cells(first)
            star = "*" if first.inside is False else " "
            on = split if name == "accuracy" else f"{split}\n{name}"
            lines = (shown, on, published, measured, interval, difference + star)
            table.add_row(*(Text(line) for line in lines))
            shown = ""
    return table


def curves(results: Results) -> Figure | None:
    """Draw accuracy by epoch of published rows with several epochs: train dotted; val solid, if not trained on."""
    figure = Figure()
    for position, row in enumerate(results.rows):
        final = result_of(row, results.experiment)
        if final is None or len(final.curves) < 2:
            continue
        colour = PALETTE[position % len(PALETTE)]
        drawn = [("train_accuracy", "train", "dot")] + ([("accuracy", "val", "solid")] if final.val else [])
        for key, split, dash in drawn:
            figure.add_trace(
                Scatter(
                    x=list(range(1, len(final.curves) + 1)),
                    y=[epoch.get(key) for epoch in final.curves],
                    mode="lines+markers" if len(final.curves) < 4 else "lines",
                    line={"color": colour, "dash": dash, "width": 2},
                    name=plotly_text(row.row.title),
                    legendgroup=row.name,
                    showlegend=split == drawn[-1][1],
                    hovertemplate=f"{plotly_text(row.row.title)}<br>epoch %{{x}}: {split} %{{y:.4f}}<extra></extra>",
                )
            )
    if not figure.data:
        return None
    longest = max(len(trace.x) for trace in figure.data)
    figure.update_xaxes(title="epoch", rangemode="tozero", showgrid=False, dtick=step_of(longest))
    figure.update_yaxes(title="accuracy")
    return figure
