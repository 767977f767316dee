"""Figures of accuracy against cost: latency, parameters and size."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from tune.experiment.report_figures import ModelCost, TestMetric
from tune.experiment.report_json import RecipeReport
from tune.reporting.formatting import interval, metric, plotly_text

COSTS = {"latency_ms": "latency, ms an image", "parameters": "parameters", "weights_mib": "weights, MiB"}


@dataclass(frozen=True)
class _Model:
    """A model with its test accuracy and its cost."""

    accuracy: TestMetric
    costs: ModelCost

    def of(self, cost: str) -> float:
        """Return one of its costs."""
        return float(getattr(self.costs, cost))


def accuracy_by_cost(
    models: Mapping[str, RecipeReport],
    colours: Mapping[str, str],
    tested_on: str,
    costs: Mapping[str, str] = COSTS,
) -> Figure | None:
    """Draw test accuracy with its interval against each cost, on a log axis; return None with fewer than two models.

    A line joins the models that no other model beats in both. A cost of zero is not drawn, as it has no place on a log
    axis.

    Args:
        models: the reports of recipes, by displayed name.
        colours: colors by the same names.
        tested_on: the split of the accuracy.
        costs: titles of the axes, by the name of the cost in `ModelCost`.
    """
    measured = {
        name: _Model(entry.test.accuracy, entry.model) for name, entry in models.items() if entry.test and entry.model
    }
    if len(measured) < 2:
        return None
    figure = make_subplots(1, len(costs), shared_yaxes=True, horizontal_spacing=0.04)
    for column, (cost, title) in enumerate(costs.items(), start=1):
        shown = {name: model for name, model in measured.items() if model.of(cost) > 0}
        front = sorted((model.of(cost), model.accuracy.mean) for model in _undominated(shown.values(), cost))
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
        for label, model in shown.items():
            test = model.accuracy
            name = plotly_text(label)
            figure.add_trace(
                Scatter(
                    x=[model.of(cost)],
                    y=[test.mean],
                    error_y={"array": [test.high - test.mean], "arrayminus": [test.mean - test.low]},
                    mode="markers",
                    marker={"size": 10, "color": colours[label]},
                    name=name,
                    legendgroup=name,
                    showlegend=column == 1,
                    hovertemplate=f"<b>{name}</b><br>{metric(test.mean)} ({interval(test)})<br>"
                    f"{title}: %{{x:,.4g}}<extra></extra>",
                ),
                row=1,
                col=column,
            )
        without = [plotly_text(name) for name in measured if name not in shown]
        beside = f" (none: {', '.join(without)})" if without else ""
        figure.update_xaxes(title=f"{title}{beside}", type="log", nticks=5, row=1, col=column)
    figure.update_yaxes(title=f"{tested_on} accuracy", row=1, col=1)
    figure.update_layout(height=340)
    return figure


def _undominated(models: Iterable[_Model], cost: str) -> list[_Model]:
    """Return the models that no other one matches at a lower cost or exceeds at the same cost."""
    front: list[_Model] = []
    for model in sorted(models, key=lambda model: (model.of(cost), -model.accuracy.mean)):
        if not front or model.accuracy.mean > front[-1].accuracy.mean:
            front.append(model)
    return front
