"""Figures of classes: confusions, metrics of each class, images of each class.

One function each, returning a Plotly figure. Classes are placed by index and labeled by an escaped, shortened name,
because Plotly reads HTML in labels and numbers in names.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from plotly.graph_objects import Bar, Figure, Heatmap, Scatter

from tune.experiment.report_figures import Calibration, ClassFigures
from tune.experiment.report_json import RecipeReport, RowReport
from tune.reporting.formatting import plotly_text
from tune.reporting.results import Results

MANY_CLASSES = 30
"""With more classes, a confusion matrix cannot be read, and only the worst classes are drawn."""
LONGEST_LABEL = 18
SPLIT_COLOURS = {"train": "#7A8794", "val": "#56B4E9", "test": "#E69F00"}
FIGURE_MARKS = {"precision": ("#56B4E9", "diamond"), "recall": ("#E69F00", "square"), "f1": ("#CC79A7", "circle")}
NAMES = {"precision": "precision", "recall": "recall", "f1": "F1"}


Tested = RecipeReport | RowReport


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """Images of one class that were taken for another, and their share of the class's images."""

    true: str
    predicted: str
    images: int
    share: float


def confusion(results: Results, entry: Tested) -> Figure | None:
    """Draw the counts on test, colored by `shades`; return None with too many classes to read."""
    found = shades(results, entry)
    if found is None:
        return None
    counts, colours = found
    classes, totals = results.classes, counts.sum(axis=1)
    places = list(range(len(classes)))
    full = [plotly_text(name) for name in classes]
    figure = Figure(
        Heatmap(
            x=places,
            y=places,
            z=colours.round(4).tolist(),
            zmin=-1,
            zmax=1,
            text=[[str(count) if count else "" for count in row] for row in counts.tolist()],
            texttemplate="%{text}",
            customdata=[[[full[i], full[j], int(counts[i, j]), int(totals[i])] for j in places] for i in places],
            hovertemplate="%{customdata[0]} taken for %{customdata[1]}:<br>"
            "%{customdata[2]} of %{customdata[3]} images<extra></extra>",
            showscale=False,
            xgap=1,
            ygap=1,
        )
    )
    labels = _labels(classes, places)
    figure.update_xaxes(
        title="predicted",
        constrain="domain",
        constraintoward="left",
        showgrid=False,
        zeroline=False,
        autotickangles=[0, 90],  # slanted labels would be cut off at the end
        **labels,
    )
    figure.update_yaxes(
        title="true",
        autorange="reversed",
        scaleanchor="x",
        constrain="domain",
        constraintoward="top",
        showgrid=False,
        zeroline=False,
        **labels,
    )
    figure.update_layout(height=190 + 30 * max(6, len(classes)))
    return figure


def shades(results: Results, entry: Tested) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Return a confusion matrix and its cells' color strength: above 0 for correct predictions, below for mistakes.

    The strength is the cell's share of its row's images. For mistakes it is the square root of the share, so that even
    a few are visible. Return None with too many classes to read.
    """
    if len(results.classes) > MANY_CLASSES:
        return None
    counts = np.array(entry.confusion)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    return counts, np.where(np.eye(len(counts), dtype=bool), shares, -np.sqrt(shares))


def reliability(calibration: Calibration) -> Figure:
    """Draw accuracy against confidence, without and with the temperature fitted on val.

    The larger a mark, the more predictions it represents.
    """
    figure = Figure(
        Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": "#7A8794", "dash": "dot"}, hoverinfo="skip",
                showlegend=False)
    )  # fmt: skip
    temperature = f"with temperature {calibration.temperature:.2f}"
    shown = (
        (calibration.bins, "as they are", "#E69F00", "circle"),
        (calibration.bins_with_temperature, temperature, "#56B4E9", "diamond"),
    )
    for bins, name, colour, symbol in shown:
        most = max(each.images for each in bins)
        figure.add_trace(
            Scatter(
                x=[each.confidence for each in bins],
                y=[each.accuracy for each in bins],
                customdata=[each.images for each in bins],
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"symbol": symbol, "size": [6 + 12 * (each.images / most) ** 0.5 for each in bins]},
                name=name,
                hovertemplate="sure: %{x:.3f}<br>right: %{y:.3f}<br>%{customdata} predictions<extra></extra>",
            )
        )
    figure.update_xaxes(title="probability of the predicted class", range=[0, 1.02])
    figure.update_yaxes(title="how often it is right", range=[0, 1.05])
    return figure


def confused_pairs(results: Results, entry: Tested, top: int = 20) -> list[ConfusedPair]:
    """Return the largest off-diagonal cells: true class, predicted class, images, share of the true class's images."""
    counts = np.array(entry.confusion)
    totals = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:top]
    places = (np.unravel_index(cell, counts.shape) for cell in order)
    return [
        ConfusedPair(
            true=results.classes[int(i)],
            predicted=results.classes[int(j)],
            images=int(counts[i, j]),
            share=float(counts[i, j] / totals[i]),
        )
        for i, j in places
        if counts[i, j]
    ]


def per_class(entry: Tested) -> Figure:
    """Draw precision, recall and F1 of each class on test, the hardest class on top."""
    ranked = sorted((entry.per_class or {}).items(), key=lambda item: item[1].f1)[:MANY_CLASSES]
    names = [name for name, _ in ranked]
    places = list(range(len(ranked)))
    figure = Figure(
        Scatter(
            x=[end for _, figures in ranked for end in (*_ends(figures), None)],
            y=[y for place in places for y in (place, place, None)],
            mode="lines",
            line={"color": "rgba(128,128,128,.5)", "width": 1.5},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for key, (colour, symbol) in FIGURE_MARKS.items():
        figure.add_trace(
            Scatter(
                x=[round(getattr(figures, key), 4) for _, figures in ranked],
                y=places,
                mode="markers",
                name=NAMES[key],
                marker={"size": 9 if key == "f1" else 8, "color": colour, "symbol": symbol},
                customdata=[[plotly_text(name), figures.support] for name, figures in ranked],
                hovertemplate=f"%{{customdata[0]}}<br>{NAMES[key]} %{{x:.4f}}, %{{customdata[1]}} images"
                "<extra></extra>",
            )
        )
    if (
        min(min(figures.precision, figures.recall, figures.f1) for _, figures in ranked) == 1
    ):  # else the axis is from 0 to 2
        figure.update_xaxes(range=[0.9, 1.005])
    figure.update_yaxes(range=[len(ranked) - 0.4, -0.6], showgrid=False, zeroline=False, **_labels(names, places))
    figure.update_layout(height=130 + 26 * max(4, len(ranked)))
    return figure


def class_counts(results: Results) -> Figure:
    """Draw the images of each class in each split, largest class on top; with very many classes, only both ends."""
    counts = results.card["counts"]
    ranked = sorted(results.classes, key=lambda name: -sum(counts[split].get(name, 0) for split in SPLIT_COLOURS))
    if len(ranked) > 2 * MANY_CLASSES:
        ranked = [*ranked[:MANY_CLASSES], *ranked[-MANY_CLASSES:]]
    places = list(range(len(ranked)))
    figure = Figure(
        [
            Bar(
                x=[counts[split].get(name, 0) for name in ranked],
                y=places,
                orientation="h",
                name=split,
                marker={"color": colour, "line": {"width": 0}},
                customdata=[plotly_text(name) for name in ranked],
                hovertemplate=f"%{{customdata}}: %{{x}} images in {split}<extra></extra>",
            )
            for split, colour in SPLIT_COLOURS.items()
        ]
    )
    figure.update_layout(
        barmode="stack", bargap=0.3, legend={"traceorder": "normal"}, height=130 + 22 * max(4, len(ranked))
    )
    figure.update_xaxes(title="images")
    figure.update_yaxes(range=[len(ranked) - 0.4, -0.6], showgrid=False, zeroline=False, **_labels(ranked, places))
    return figure


def _ends(figures: ClassFigures) -> tuple[float, float]:
    """Return the smallest and the largest of a class's figures."""
    values = [round(value, 4) for value in (figures.precision, figures.recall, figures.f1)]
    return min(values), max(values)


def _labels(names: list[str], places: list[int]) -> dict[str, object]:
    short = [name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…" for name in names]
    return {"tickmode": "array", "tickvals": places, "ticktext": [plotly_text(name) for name in short]}
