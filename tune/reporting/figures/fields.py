"""Figures of a recipe's fields: which of them mattered, and each trial's value by its fields.

One function each, returning a Plotly figure, or nothing or a sentence if there is nothing to draw.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import TrialState, create_trial
from plotly.graph_objects import Figure, Scatter

from tune.experiment.trial_record import TrialRecord
from tune.reporting.figures.search import hover
from tune.reporting.figures.series import colour, rounded
from tune.reporting.formatting import metric, plotly_text
from tune.reporting.results import Results

FAINT = "rgba(128,128,128,.45)"
"""A color that is just visible on white and on black."""

ENOUGH_TRIALS = 8
"""Fewer trials say nothing about a field's effect."""
SHOWN_FIELDS = 12
BOLD = 8
"""About this many lines stand out among many."""
DRAWN_FIELDS = 6
"""The number of fields drawn side by side."""


def importance(results: Results, recipe: str) -> Figure | str:
    """Draw the importance of a recipe's fields for being among the best (PED-ANOVA) and for the metric at all (fANOVA).

    fANOVA leaves out fields that not all trials have, as Optuna does.
    """
    records = valued(results, recipe)
    if len(records) < ENOUGH_TRIALS:
        return f"{len(records)} trials with a value are too few to say which fields matter; {ENOUGH_TRIALS} are needed."
    if len({record.value for record in records}) == 1:
        return "All trials have the same value, so no field mattered."
    study = _study(results, records)
    shares = _shares(study, PedAnovaImportanceEvaluator())
    if len(set(shares.values())) < 2:
        return "No field stands out."
    of_all = _shares(study, FanovaImportanceEvaluator(n_trees=32, seed=0))
    top = sorted(shares.items(), key=lambda item: item[1])[-SHOWN_FIELDS:]
    figure = Figure(
        Scatter(
            x=[rounded(share) for _, share in top],
            y=[name for name, _ in top],
            mode="markers",
            name="sets the best apart",
            marker={"size": 10, "color": colour(results, recipe)},
            error_x={"type": "data", "array": [0] * len(top), "arrayminus": [s for _, s in top], "width": 0},
            hovertemplate="%{y}: %{x:.1%} (PED-ANOVA)<extra></extra>",
        )
    )
    figure.update_traces(error_x={"color": colour(results, recipe), "thickness": 2})
    shown = [(name, of_all[name]) for name, _ in top if name in of_all]
    figure.add_trace(
        Scatter(
            x=[rounded(share) for _, share in shown],
            y=[name for name, _ in shown],
            mode="markers",
            name="moves the metric",
            marker={"size": 9, "color": colour(results, recipe), "symbol": "diamond-open", "line": {"width": 1.5}},
            hovertemplate="%{y}: %{x:.1%} (fANOVA)<extra></extra>",
        )
    )
    figure.update_xaxes(title="share", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_layout(height=120 + 26 * len(top))
    return figure


def valued(results: Results, recipe: str) -> list[TrialRecord]:
    """Return the trials of a recipe that ended with a value."""
    ended = (record for record in results.of(recipe) if record.state in ("complete", "pruned"))
    return [record for record in ended if results.settings.objective.cost(record.value) < math.inf]


def parallel(results: Results, recipe: str) -> Figure | None:
    """Draw each trial as a line through its fields to its value; return None if there is nothing to compare.

    The lines are scatter traces, as Plotly's own parallel coordinates need WebGL, which not every browser has.
    """
    study, fields = _compared(results, recipe)
    if not fields:
        return None
    records = valued(results, recipe)
    axes = [
        _Axis.of([trial.params[name] for trial in study.trials], study.trials[0].distributions[name]) for name in fields
    ]
    axes.append(_Axis.of([trial.value for trial in study.trials], None))
    ranks = np.argsort(
        np.argsort([-results.settings.objective.cost(record.value) for record in records], kind="stable")
    )
    figure = Figure()
    steep = max(2.0, len(records) / BOLD)
    for number in np.argsort(ranks):  # the best on top of the others
        share = ((ranks[number] + 1) / len(records)) ** steep
        figure.add_trace(
            Scatter(
                x=list(range(len(axes))),
                y=[rounded(axis.places[number]) for axis in axes],
                mode="lines",
                line={"color": colour(results, recipe), "width": 1 + 2 * share**2},
                opacity=0.1 + 0.9 * share,
                showlegend=False,
                hovertemplate=hover(records[number], f"val {results.settings.metric} {metric(records[number].value)}"),
            )
        )
    for position, axis in enumerate(axes):
        figure.add_vline(x=position, line={"width": 1, "color": "rgba(128,128,128,.6)"}, layer="below")
        for place, text in axis.ticks:
            figure.add_annotation(
                x=position, y=place, text=text, showarrow=False, xanchor="left", xshift=3, font={"size": 11}
            )
    names = [*fields, f"val {results.settings.metric}"]
    figure.update_xaxes(
        tickvals=list(range(len(axes))), ticktext=names, showgrid=False, zeroline=False, range=[-0.1, len(axes) - 0.6]
    )
    figure.update_yaxes(visible=False, range=[-0.06, 1.06])
    figure.update_layout(height=360)
    return figure


def slices(results: Results, recipe: str) -> Figure | None:
    """Draw the value of each trial against each field of `parallel`; return None if there is nothing to compare."""
    study, fields = _compared(results, recipe)
    if not fields:
        return None
    from optuna.visualization import plot_slice  # late, as it imports Matplotlib

    figure = plot_slice(study, params=fields, target_name=f"val {results.settings.metric}")
    later = {"colorscale": [[0, FAINT], [1, colour(results, recipe)]], "reversescale": False}
    figure.update_traces(marker={**later, "line": {"width": 0}, "colorbar": {"title": "order", "x": 1.01}})
    figure.for_each_xaxis(lambda axis: axis.update({"dtick": 1} if axis.type == "log" else {"nticks": 4}))
    figure.update_xaxes(exponentformat="e")
    figure.update_layout(title=None, height=340, width=None)
    return figure


def _compared(results: Results, recipe: str) -> tuple[optuna.Study, list[str]]:
    """Return the trials of a recipe, and the most important of the fields that all of them have."""
    records = valued(results, recipe)
    study = _study(results, records)
    if len(records) < ENOUGH_TRIALS or len({record.value for record in records}) == 1:
        return study, []
    everywhere = set.intersection(*(set(trial.params) for trial in study.trials))
    shares = sorted(_shares(study, PedAnovaImportanceEvaluator()).items(), key=lambda item: -item[1])
    return study, [name for name, _ in shares if name in everywhere][:DRAWN_FIELDS]


@dataclass(frozen=True)
class _Axis:
    """An axis of parallel coordinates, from 0 to 1: the place where each trial crosses it, and its tick labels."""

    places: list[float]
    ticks: list[tuple[float, str]]

    @classmethod
    def of(cls, values: Sequence[object], kind: BaseDistribution | None) -> "_Axis":
        """Place words evenly, log-scale fields by base-10 logarithm, and values without `kind` as plain numbers."""
        if isinstance(kind, CategoricalDistribution):
            last = max(1, len(kind.choices) - 1)
            ticks = [(number / last, str(choice)) for number, choice in enumerate(kind.choices)]
            return cls([kind.choices.index(value) / last for value in values], ticks)
        numbers = np.array(values, dtype=float)
        if getattr(kind, "log", False):
            numbers = np.log10(numbers)
        low, high = float(numbers.min()), float(numbers.max())
        places = (numbers - low) / ((high - low) or 1.0)
        ends = [f"{10.0**end if getattr(kind, 'log', False) else end:.3g}" for end in (low, high)]
        return cls(places.tolist(), [(0.0, ends[0]), *([(1.0, ends[1])] if high > low else [])])


def _study(results: Results, records: Sequence[TrialRecord]) -> optuna.Study:
    """Return trials of one recipe as a study for Optuna's own figures, with parameters named by field."""
    study = optuna.create_study(direction=results.settings.objective.direction)
    for record in records:
        drawn = {name: kind for name, kind in record.distributions.items() if "." in name}  # not the choice of recipe
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=record.value,
                params={_field(name): _text(record.params[name]) for name in drawn},
                distributions={_field(name): _escaped(kind) for name, kind in drawn.items()},
            )
        )
    return study


def _shares(study: optuna.Study, evaluator: BaseImportanceEvaluator) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(get_param_importances(study, evaluator=evaluator))


def _field(name: str) -> str:
    """Return the field's name, from the parameter's name."""
    return plotly_text(name.partition(".")[2])


def _escaped(kind: BaseDistribution) -> BaseDistribution:
    if isinstance(kind, CategoricalDistribution):
        return CategoricalDistribution([_text(choice) for choice in kind.choices])
    return kind


def _text(value: Any) -> Any:
    return plotly_text(value) if isinstance(value, str) else value
