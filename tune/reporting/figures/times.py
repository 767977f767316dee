"""Figures of the search's time: a timeline of each worker, and the shares of its activities."""

from collections import defaultdict
from dataclasses import dataclass

from plotly.graph_objects import Figure, Scatter

from tune.experiment.trial_record import TrialRecord
from tune.reporting.figures.series import colour
from tune.reporting.formatting import duration, plotly_text, unit_of
from tune.reporting.results import Results

SHOWN_WORKERS = 64


@dataclass(frozen=True)
class Stretch:
    """Epochs of a trial that a worker trained one after another; times in seconds since 1970."""

    record: TrialRecord
    worker: str
    first: int
    last: int
    begin: float
    end: float
    seconds: float
    """The seconds of training and evaluation alone."""


def stretches(records: list[TrialRecord]) -> list[Stretch]:
    """Return the workers' stretches, by time.

    Epochs that a node trained but did not report before it died are unknown.
    """
    found: list[Stretch] = []
    for record in records:
        for epoch, heard in record.heard.items():
            seconds = record.epochs[epoch - 1]["seconds"]
            last = found[-1] if found else None
            if last and last.record is record and last.worker == heard.worker and last.last == epoch - 1:
                found[-1] = Stretch(
                    record, last.worker, last.first, epoch, last.begin, heard.at, last.seconds + seconds
                )
            else:
                found.append(Stretch(record, heard.worker, epoch, epoch, heard.at - seconds, heard.at, seconds))
    return sorted(found, key=lambda stretch: stretch.begin)


def workers(results: Results) -> Figure | str:
    """Draw a timeline of trials, one line per worker."""
    found = stretches(results.records)
    if not found:
        return "No worker has trained an epoch yet."
    lanes: dict[str, int] = {}
    for stretch in found:
        lanes.setdefault(stretch.worker, len(lanes))
    if len(lanes) > SHOWN_WORKERS:
        return f"{len(lanes)} workers are too many to draw."
    began = found[0].begin
    unit, seconds = unit_of(max(stretch.end for stretch in found) - began)
    figure = Figure()
    of_recipe: defaultdict[str, list[Stretch]] = defaultdict(list)
    for stretch in found:
        of_recipe[stretch.record.recipe].append(stretch)
    for recipe in results.settings.recipes:
        for pruned, opacity in ((False, 1.0), (True, 0.45)):
            own = [each for each in of_recipe[recipe] if (each.record.state == "pruned") == pruned]
            if not own:
                continue
            figure.add_trace(
                Scatter(
                    x=[x for each in own for x in ((each.begin - began) / seconds, (each.end - began) / seconds, None)],
                    y=[y for each in own for y in (lanes[each.worker], lanes[each.worker], None)],
                    mode="lines",
                    line={"width": 14, "color": colour(results, recipe)},
                    opacity=opacity,
                    name=recipe,
                    legendgroup=recipe,
                    showlegend=not pruned or not any(each.record.state != "pruned" for each in of_recipe[recipe]),
                    text=[text for each in own for text in (_told(each), _told(each), None)],
                    hovertemplate="%{text}<extra></extra>",
                )
            )
    figure.update_xaxes(title=unit, rangemode="tozero", showgrid=False)
    names = [plotly_text(worker) for worker in lanes]
    figure.update_yaxes(
        tickvals=list(range(len(lanes))), ticktext=names, range=[len(lanes) - 0.4, -0.6], showgrid=False, zeroline=False
    )
    figure.update_layout(height=110 + 26 * len(lanes))
    return figure


def shares(results: Results) -> list[tuple[str, str]]:
    """Return the shares of activities in the workers' time, in words; empty before there was any.

    A worker's time runs from its first epoch to its last. Images per second tell training from evaluation. In
    experiments without recorded loading times, loading is a part of training.
    """
    found = stretches(results.records)
    spans: dict[str, tuple[float, float]] = {}
    for stretch in found:
        begin, end = spans.get(stretch.worker, (stretch.begin, stretch.end))
        spans[stretch.worker] = min(begin, stretch.begin), max(end, stretch.end)
    total = sum(end - begin for begin, end in spans.values())
    if total <= 0:
        return []
    images = results.card["images"]["train"]
    epochs = [epoch for record in results.records for epoch in record.epochs]
    busy = sum(epoch["seconds"] for epoch in epochs)
    training = sum(min(images / epoch["images_per_second"], epoch["seconds"]) for epoch in epochs if _timed(epoch))
    loading = sum(epoch.get("loading_seconds", 0.0) for epoch in epochs)
    told = [
        ("training", training - loading),
        *([("loading", loading)] if any("loading_seconds" in epoch for epoch in epochs) else []),
        ("evaluating", busy - training),
        ("waiting between epochs and trials", total - busy),
    ]
    return [("workers' time", duration(total)), *((what, f"{max(0.0, part) / total:.0%}") for what, part in told)]


def _timed(epoch: dict[str, float]) -> bool:
    return epoch.get("images_per_second", 0.0) > 0


def _told(stretch: Stretch) -> str:
    epochs = f"epoch {stretch.first}" if stretch.first == stretch.last else f"epochs {stretch.first} to {stretch.last}"
    record = stretch.record
    return f"{plotly_text(record.recipe)}, trial {record.number}: {epochs}, {duration(stretch.seconds)}, {record.state}"
