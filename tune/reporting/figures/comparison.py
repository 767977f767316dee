"""Figures of several experiments, each in its own color."""

from collections.abc import Sequence

import numpy as np
from plotly.graph_objects import Figure, Scatter

from tune.models.cost import where
from tune.reporting.comparison import Contender, unranked, untestable
from tune.reporting.figures.costs import COSTS, accuracy_by_cost
from tune.reporting.figures.series import (
    NO_TIMES,
    NO_VALUE,
    PALETTE,
    Against,
    axis_of,
    places_of,
    rounded,
    step_of,
    window,
)
from tune.reporting.formatting import plotly_text


def progress(contenders: Sequence[Contender], against: Against) -> Figure | str:
    """Draw the best val metric so far against its cost, for each experiment with the same metric as the first.

    Experiments evaluated on other val images than the first are dotted.
    """
    first, metric = contenders[0], contenders[0].metric
    drawn = [contender for contender in contenders if contender.metric == metric]
    places = {contender.name: places_of(contender.results.records, against) for contender in drawn}
    longest = max((max(own.values()) for own in places.values() if own), default=0.0)
    title, unit = axis_of(against, longest)
    figure, bests = Figure(), []
    for contender in drawn:
        own, cost = places[contender.name], contender.results.settings.objective.cost
        valued = [r for r in contender.results.records if r.state != "failed" and cost(r.value) < np.inf]
        records = sorted((r for r in valued if r.number in own), key=lambda r: own[r.number])
        if not records:
            continue
        values = [record.value for record in records if record.value is not None]
        best = contender.results.settings.objective.best_so_far(values)
        bests.append(best[-1])
        elsewhere = bool(unranked(contender, first))
        name = plotly_text(contender.name)
        colour = _colours(contenders)[contender.name]
        figure.add_trace(
            Scatter(
                x=[*(own[record.number] / unit for record in records), max(own.values()) / unit],
                y=[*map(rounded, best), rounded(best[-1])],
                mode="lines+markers",
                line={"color": colour, "width": 2.5, "shape": "hv", "dash": "dot" if elsewhere else "solid"},
                marker={"size": [6, *(6 * (np.diff(best) != 0)).tolist(), 0]},
                name=f"{name} (other val images)" if elsewhere else name,
                hovertemplate=f"<b>{name}</b><br>best {metric} so far %{{y:.4f}}<br>{title} %{{x:.4g}}<extra></extra>",
            )
        )
    if not figure.data:
        return NO_VALUE if against == "trials" else NO_TIMES
    figure.update_xaxes(title=title, dtick=step_of(round(longest)) if against == "trials" else None)
    values = [value for trace in figure.data for value in trace.y]
    figure.update_yaxes(
        title=f"best val {metric} so far",
        range=window(values, bests, maximize=first.results.settings.objective.maximize),
    )
    return figure


def winners_by_cost(contenders: Sequence[Contender]) -> Figure | None:
    """Draw accuracy against cost, for the winners that were tested on the same images as the first.

    Latency is left out unless all of it was measured on one kind of processor.
    """
    tested = [each for each in contenders if each.test and not untestable(each, contenders[0])]
    measured = {where(each.entry.model) for each in tested if each.entry.model}
    costs = COSTS if len(measured) == 1 else {cost: title for cost, title in COSTS.items() if cost != "latency_ms"}
    entries = {each.name: each.entry for each in tested}
    return accuracy_by_cost(entries, _colours(contenders), contenders[0].results.tested_on, costs)


def _colours(contenders: Sequence[Contender]) -> dict[str, str]:
    return {contender.name: PALETTE[place % len(PALETTE)] for place, contender in enumerate(contenders)}
