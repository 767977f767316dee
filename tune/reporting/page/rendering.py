"""Rendering of all pages: the templates, the figures and their library, intervals as bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from trainables.training.metrics import label_of
from tune.experiment.report_figures import Interval
from tune.reporting.formatting import duration, finite, interval, metric, percent, printable, setting, signed, spread
from tune.version import __version__

PADDING = 0.06
"""The margin on either side of the bars, as a fraction of their range."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """An interval in a leaderboard, in percent of the column's width."""

    left: float
    width: float
    mean: float


def bars(intervals: Sequence[Interval | None]) -> list[Bar | None]:
    """Return intervals as bars on one scale."""
    low = min((each.low for each in intervals if each), default=0.0)
    high = max((each.high for each in intervals if each), default=1.0)
    margin = PADDING * (high - low) or 0.01
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    def bar(ends: Interval) -> Bar:
        left, mean, right = map(place, (ends.low, ends.mean, ends.high))
        return Bar(left=left, width=right - left, mean=mean)

    return [bar(each) if each else None for each in intervals]


class Figures:
    """Figures of a page by the id of their place; a sentence or nothing may replace a figure."""

    def __init__(self) -> None:
        self.drawn: dict[str, object] = {}

    def place(self, name: str, figure: Figure | str | None) -> str | None:
        """Keep a figure to be drawn at `name`; return anything else unchanged."""
        if not isinstance(figure, Figure):
            return figure
        content = finite(figure.to_plotly_json())
        content["layout"].pop("template", None)
        self.drawn[name] = content
        return None


def render(template: str, figures: Figures, **values: object) -> str:
    """Render a page as HTML, from a template that extends base.html."""
    return (
        _environment()
        .get_template(template)
        .render(figures=figures.drawn, version=__version__, plotly=_plotly(), **values)
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        label=label_of,
        metric=metric,
        percent=percent,
        interval=interval,
        signed=signed,
        spread=spread,
        setting=setting,
        duration=duration,
        printable=printable,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


@cache
def _plotly() -> Markup:
    return Markup(get_plotlyjs())  # trusted, and free of "</script"
