"""Figures of accuracy against cost: latency, parameters and size."""

from collections.abc import Mapping
from typing import Any

from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from tune.reporting.formatting import interval, metric, plotly_text

COSTS = {"latency_ms": "latency, ms an image", "parameters": "parameters", "weights_mib": "weights, MiB"}


def accuracy_by_cost(
    models: Mapping[str, Mapping[str, Any]],
    colours: Mapping[str, str],
    tested_on: str,
    costs: Mapping[str, str] = COSTS,
) -> Figure | None:
    """Draw test accuracy with its interval against each cost, on a log axis; return None with fewer than two models.

    A line joins the models that no other model beats in both. A cost of zero is not drawn, as it has no place on a log
    axis.

    Args:
        models: entries of recipes in `report.json`, by displayed name.
        colours: colors by the same names.
        tested_on: the split of the accuracy.
        costs: titles of the axes, by the key of the cost in an entry's model.
    """
    models = {name: entry for name, entry in models.items() if entry["test"] and entry["model"]}
    if len(models) < 2:
        return None
    figure = make_subplots(1, len(costs), shared_yaxes=True, horizontal_spacing=0.04)
    for column, (cost, title) in enumerate(costs.items(), start=1):
        shown = {name: entry for name, entry in models.items() if entry["model"][cost] > 0}
        front = sorted((entry["model"][cost], _accuracy(entry)) for entry in _undominated(shown.values(), cost))
        figure.add_trace(
            Scatter(
                x=[x for x, _ in front],
                y=[y for _, y in front],
                mode="lines",
                line={"dash": "dot", "width": 1.5, "color": "rgba(128,128,128,.9)", "shape": "hv"},
                hoverinfo="skip",
                showlegend=False,
            ),
            row=1,
            col=column,
        )
        for model, entry in shown.items():
            test = entry["test"]["accuracy"]
            name = plotly_text(model)
            figure.add_trace(
                Scatter(
                    x=[entry["model"][cost]],
                    y=[test["mean"]],
                    error_y={"array": [test["high"] - test["mean"]], "arrayminus": [test["mean"] - test["low"]]},
                    mode="markers",
                    marker={"size": 10, "color": colours[model]},
                    name=name,
                    legendgroup=name,
                    showlegend=column == 1,
                    hovertemplate=f"<b>{name}</b><br>{metric(test['mean'])} ({interval(test)})<br>"
                    f"{title}: %{{x:,.4g}}<extra></extra>",
                ),
                row=1,
                col=column,
            )
        without = [plotly_text(name) for name in models if name not in shown]
        beside = f" (none: {', '.join(without)})" if without else ""
        figure.update_xaxes(title=f"{title}{beside}", type="log", nticks=5, row=1, col=column)
    figure.update_yaxes(title=f"{tested_on} accuracy", row=1, col=1)
    figure.update_layout(height=340)
    return figure


def _undominated(entries: Any, cost: str) -> list[dict[str, Any]]:
    """Return the models that no other one matches at a lower cost or exceeds at the same cost."""
    ranked = sorted(entries, key=lambda entry: (entry["model"][cost], -_accuracy(entry)))
    front: list[dict[str, Any]] = []
    for entry in ranked:
        if not front or _accuracy(entry) > _accuracy(front[-1]):
            front.append(entry)
    return front


def _accuracy(entry: dict[str, Any]) -> float:
    mean: float = entry["test"]["accuracy"]["mean"]
    return mean
