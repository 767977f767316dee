"""Figures of the search: one function each, returning a Plotly figure, or a sentence if there is nothing to draw.

Colors of text, grid and background are the page's. Text from outside is escaped, as Plotly reads HTML.
"""

from plotly.graph_objects import Figure, Scatter

from tune.experiment.trial_record import TrialRecord
from tune.reporting.figures.series import (
    NO_EPOCH,
    Against,
    colour,
    dashed,
    epochs_title,
    learning,
    progress,
    step_of,
    window_of,
)
from tune.reporting.formatting import metric, plotly_text, setting
from tune.reporting.results import Results


def learning_curves(results: Results) -> Figure | str:
    """Draw the val metric by epoch of all trials; each recipe's best is bold, stopped trials are faint."""
    name = results.settings.metric
    found = learning(results)
    if not found:
        return NO_EPOCH
    figure = Figure()
    for recipe, curves in found.items():
        for curve in curves:
            figure.add_trace(
                Scatter(
                    x=curve.epochs,
                    y=curve.values,
                    mode="lines+markers" if len(curve.epochs) < 3 else "lines",
                    name=recipe,
                    legendgroup=recipe,
                    showlegend=curve.best,
                    meta=curve.record.state,  # the page shows and hides curves by state and recipe
                    opacity=curve.opacity,
                    line=_line(results, recipe, width=3 if curve.best else 1.3),
                    marker={"size": 6},
                    hovertemplate=hover(curve.record, f"epoch %{{x}}: {name} %{{y:.4f}}"),
                )
            )
    for epoch in results.settings.milestones:
        figure.add_vline(x=epoch, line={"width": 1, "dash": "dot", "color": "rgba(128,128,128,.9)"}, layer="below")
    figure.update_xaxes(
        title=epochs_title(results), rangemode="tozero", showgrid=False, dtick=step_of(results.settings.max_epochs)
    )
    values = (value for curves in found.values() for curve in curves for value in curve.values)
    figure.update_yaxes(title=f"val {name}", range=window_of(results, values))
    return figure


def history(results: Results, against: Against) -> Figure | str:
    """Draw each trial's value and each recipe's best so far, against the cost until then."""
    found = progress(results, against)
    if isinstance(found, str):
        return found
    of_recipes, title = found
    figure = Figure()
    for recipe, own in of_recipes.items():
        figure.add_trace(
            Scatter(
                x=own.places,
                y=own.values,
                mode="markers",
                marker={"size": 6, "color": colour(results, recipe)},
                opacity=0.45,
                legendgroup=recipe,
                showlegend=False,
                hovertemplate=[hover(r, f"best {results.settings.metric} %{{y:.4f}}") for r in own.records],
            )
        )
        figure.add_trace(
            Scatter(
                x=own.step_places,
                y=own.step_values,
                mode="lines",
                line={**_line(results, recipe, width=2.5), "shape": "hv"},
                name=recipe,
                legendgroup=recipe,
                hoverinfo="skip",
            )
        )
    figure.update_xaxes(title=title, dtick=step_of(len(results.records)) if against == "trials" else None)
    values = (value for own in of_recipes.values() for value in (*own.values, *own.step_values))
    figure.update_yaxes(title=f"best val {results.settings.metric} so far", range=window_of(results, values))
    return figure


def hover(record: TrialRecord, first: str) -> str:
    """Return the text of a trial under the pointer, with a line of its own first."""
    config = [f"{plotly_text(name)} {plotly_text(setting(value))}" for name, value in record.config.items()]
    lines = [", ".join(config[start : start + 4]) for start in range(0, len(config), 4)]
    head = f"<b>{plotly_text(record.recipe)}, trial {record.number}</b>, {record.state}"
    return "<br>".join([head, first, f"best {metric(record.value)}", *lines]) + "<extra></extra>"


def _line(results: Results, recipe: str, *, width: float) -> dict[str, object]:
    """Return the style of a recipe's line; it is dashed if its color repeats."""
    dash = "dash" if dashed(results, recipe) else "solid"
    return {"color": colour(results, recipe), "width": width, "dash": dash}
