"""The published rows of a preset: published values beside measured ones, as data, text and figures."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from plotly.graph_objects import Figure, Scatter
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tune.experiment.planned_rows import PlannedRow
from tune.finals.finalists import Final, Finalist
from tune.finals.intervals import Interval, intervals, mean_interval
from tune.finals.published_rows import result_of
from tune.reporting.figures.series import PALETTE, step_of
from tune.reporting.formatting import NOTHING, interval, metric, plotly_text, setting
from tune.reporting.results import Results, of_images, on_test, source

Entry = dict[str, Any]

MIXED = "trained in bfloat16 on a GPU, convolutions channels-last"
"""A change of rows trained in mixed precision: no publication reports it for its networks."""


def entry_of(results: Results, row: PlannedRow) -> Entry:
    """Return a published row for `report.json`; unmeasured values are null."""
    final = result_of(row, results.experiment)
    entry: Entry = {
        "title": row.row.title,
        "recipe": row.row.recipe,
        "train_on": row.row.train_on,
        "epochs": row.epochs,
        "eval_variant": row.eval_variant,
        "changes": row.changes,
        "config": None,
        "weights": None,
        "seconds": None,
        "scores": [],
        "published_best": row.row.published_best,
        "test": None,
        "per_class": None,
        "confusion": None,
        "figures": list(_figures(results, row, final)),
    }
    if final is not None:
        entry |= of_images(final.labels, final.predictions, results.classes)
        entry |= {
            "changes": [*row.changes, *([MIXED] if final.mixed else [])],
            "config": final.config,
            "weights": results.weights_of(row.row.recipe, final.config),
            "seconds": final.seconds + sum(score["seconds"] for score in final.scores),
            "scores": final.scores,
            "test": on_test(Finalist(finals=[final])),
        }
    return entry


def _figures(results: Results, row: PlannedRow, final: Final | None) -> Iterator[Entry]:
    """Yield a line for each published figure, or for accuracy if none was published."""
    tested = results.tested_on
    published: Mapping[Any, Mapping[str, float | None]] = row.row.published or {tested: {"accuracy": None}}
    for split, figures in published.items():
        measured = _measured(final, split, tested) if final else {}
        for name, value in figures.items():
            ends = measured.get(name)
            yield {
                "split": split,
                "metric": name,
                "published": value,
                "measured": ends.mean if ends else None,
                "low": ends.low if ends else None,
                "high": ends.high if ends else None,
                "inside": ends.low <= value <= ends.high if ends and value is not None else None,
            }


def _measured(final: Final, split: str, tested: str) -> dict[str, Interval]:
    """Return metrics on a split with their intervals; none if the split is missing or was trained on."""
    if split == tested:
        return {"loss": mean_interval(final.losses), **Finalist(finals=[final]).test()}
    if split == "test" or not final.val:
        return {}
    labels, predictions = final.on_val
    return {"loss": mean_interval(final.val_losses), **intervals(labels, predictions[None], final.classes)}


def headings() -> list[str]:
    """Return the column headings of the table in text."""
    return ["row", "split", "metric", "published", "measured", "95% interval", "difference", "inside"]


def cells(entry: Entry) -> list[list[str]]:
    """Return a published row's lines under `headings`; only the first has its title."""
    return [[entry["title"] if i == 0 else "", *_cells(line)] for i, line in enumerate(entry["figures"])]


def _cells(line: Entry) -> list[str]:
    both = line["published"] is not None and line["measured"] is not None
    return [
        line["split"],
        line["metric"],
        metric(line["published"]),
        metric(line["measured"]),
        interval(line) if line["low"] is not None else NOTHING,
        f"{line['measured'] - line['published']:+.4f}" if both else NOTHING,
        {True: "yes", False: "no", None: NOTHING}[line["inside"]],
    ]


def first_figures(entry: Entry) -> list[Entry]:
    """Return a published row's lines for the first metric on each split."""
    firsts: dict[str, Entry] = {}
    for line in entry["figures"]:
        firsts.setdefault(line["split"], line)
    return list(firsts.values())


def changes(entries: Collection[Entry]) -> tuple[list[str], list[list[str]]]:
    """Return the deviations from the publication: those of all rows alike, if there are several, and each row's own."""
    if len(entries) < 2:
        return [], [entry["changes"] for entry in entries]
    first, *others = (entry["changes"] for entry in entries)
    common = [change for change in first if all(change in other for other in others)]
    return common, [[change for change in entry["changes"] if change not in common] for entry in entries]


def not_as_published(entries: Collection[Entry]) -> list[str]:
    """Describe the deviations from the publication: one line for all rows, and one for each row with its own."""
    common, own = changes(entries)
    titles = ["all rows", *(entry["title"] for entry in entries)]
    return [f"{title}: {'; '.join(said)}" for title, said in zip(titles, [common, *own], strict=True) if said]


def pretrained(entries: Iterable[Entry]) -> list[str]:
    """Describe the pretrained weights of published rows, or their absence; rows with the same weights share a line."""
    titles: defaultdict[str, list[str]] = defaultdict(list)
    for entry in entries:
        if weights := source(entry):
            titles[weights].append(entry["title"])
    return [f"{'; '.join(rows)}: {weights}" for weights, rows in titles.items()]


def chosen(entries: Iterable[Entry]) -> list[str]:
    """Describe the choice of cross-validation for each published row with a grid, beside the published choice."""
    lines = []
    for entry in entries:
        if entry["scores"]:
            asked = [score["config"] for score in entry["scores"]]
            varied = [name for name in entry["config"] if len({config.get(name) for config in asked}) > 1]
            published = ", ".join(f"{name} {setting(value)}" for name, value in entry["published_best"].items())
            line = ", ".join(f"{name} {setting(entry['config'][name])}" for name in varied) or "the only one left"
            lines.append(f"{entry['title']}: {line}" + (f" (published: {published})" if published else ""))
    return lines


def published_table(entries: list[Entry]) -> Table:
    """Return published and measured figures for a terminal of 80 columns: each row's first metric on each split.

    A star after a difference marks a published figure outside the measured interval.
    """
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("row", "accuracy\non", "published", "measured", "95%\ninterval", "difference "):
        left = heading in ("row", "accuracy\non")
        above = "" if "\n" in heading else "\n"
        table.add_column(Text(above + heading), justify="left" if left else "right", overflow="fold")
    for entry in entries:
        shown = entry["title"]
        for first in first_figures(entry):
            split, name, published, measured, ends, difference, _ = _cells(first)
            star = "*" if first["inside"] is False else " "
            on = split if name == "accuracy" else f"{split}\n{name}"
            lines = (shown, on, published, measured, ends, difference + star)
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
