"""Figures of the finals: val accuracy against test accuracy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from plotly.graph_objects import Figure, Scatter

from tune.experiment.report_json import DefaultReport, FinalistReport, RecipeReport, Report
from tune.finals.finalists import DEFAULT
from tune.reporting.formatting import metric, plotly_text

Tested = RecipeReport | FinalistReport | DefaultReport

SYMBOLS = {"best": "circle", "other": "circle-open", "default": "diamond-open"}
"""Symbols of a recipe's best finalist, its other finalists, and the default point of the winner's recipe."""


@dataclass(frozen=True, kw_only=True)
class FinalLine:
    """A final: its recipe, trial and seed, and the accuracy that it reached on val and on test."""

    recipe: str
    trial: str
    kind: str
    seed: int
    epoch: int
    val: float | None
    test: float


def finals(report: Report) -> list[FinalLine]:
    """Return all finals trained on train alone: recipes by rank, the best finalist first, the default point last."""
    found: list[FinalLine] = []
    for recipe, entry in report.recipes.items():
        found += _lines(recipe, str(entry.best_trial), "best", entry)
        for other in entry.finalists:
            found += _lines(recipe, str(other.best_trial), "other", other)
    default, best = report.default, report.best
    if default and best and report.winner:
        named = [best.config, *(other.config for other in best.finalists)]
        found += _lines(report.winner, DEFAULT, "default", default) if default.config not in named else []
    return found


def _lines(recipe: str, trial: str, kind: str, finalist: Tested) -> Iterator[FinalLine]:
    for final in finalist.finals_on_train_alone or finalist.finals:
        yield FinalLine(
            recipe=recipe,
            trial=trial,
            kind=kind,
            seed=final.seed,
            epoch=final.epoch,
            val=final.val.get("accuracy"),
            test=final.test["accuracy"] or 0.0,
        )


def optimism(report: Report) -> float | None:
    """Return val accuracy minus test accuracy, the mean over all finals; None without val metrics or a test split."""
    gaps = [line.val - line.test for line in finals(report) if line.val is not None]
    return float(np.mean(gaps)) if gaps and report.tested_on == "test" else None


def val_against_test(report: Report, colours: Mapping[str, str]) -> Figure | None:
    """Draw the val and test accuracy of each final, with the line of equality; return None without a test split."""
    lines = [line for line in finals(report) if line.val is not None]
    if not lines or report.tested_on != "test":
        return None
    values = [value for line in lines for value in (line.val or 0.0, line.test)]
    margin = 0.06 * (max(values) - min(values)) or 0.01
    ends = [min(values) - margin, max(values) + margin]
    figure = Figure(
        Scatter(
            x=ends,
            y=ends,
            mode="lines",
            line={"dash": "dot", "width": 1.5, "color": "rgba(128,128,128,.9)"},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for recipe in report.recipes:
        own = [line for line in lines if line.recipe == recipe]
        if not own:
            continue
        name = plotly_text(recipe)
        figure.add_trace(
            Scatter(
                x=[line.val for line in own],
                y=[line.test for line in own],
                mode="markers",
                marker={"size": 9, "color": colours[recipe], "symbol": [SYMBOLS[line.kind] for line in own]},
                name=name,
                text=[_told(line) for line in own],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    figure.update_xaxes(title="val accuracy", range=ends)
    figure.update_yaxes(title="test accuracy", range=ends)
    return figure


def _told(line: FinalLine) -> str:
    trial = "default point" if line.kind == "default" else f"trial {line.trial}"
    whose = f"<b>{plotly_text(line.recipe)}</b>, {trial}, seed {line.seed}, epoch {line.epoch}"
    return f"{whose}<br>val {metric(line.val)}, test {metric(line.test)}"
