"""Formatting of values for people and for JSON."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from tune.experiment.report_figures import Interval, TestMetric

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
NOTHING = DASH


def metric(value: float | None) -> str:
    """Format a metric with four decimals; a large loss has four digits."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def ends(low: float, high: float) -> str:
    """Format the ends of an interval, with three decimals."""
    return f"{low:.3f}{DASH}{high:.3f}"


def interval(values: Interval) -> str:
    """Format the ends of an interval, with three decimals."""
    return ends(values.low, values.high)


def spread(values: TestMetric) -> str:
    """Format the standard deviation between seeds, with three decimals; empty if there is none."""
    return "" if values.std is None else f"{PLUS_MINUS} {values.std:.3f}"


def differences(values: Interval) -> str:
    """Format the ends of a difference's interval."""
    return f"({signed(values.low)} to {signed(values.high)})"


def signed(value: float) -> str:
    """Format a difference with its sign and three decimals."""
    return f"{value:+.3f}".replace("-", MINUS)


def percent(value: float) -> str:
    """Format a fraction in percent, with one decimal."""
    return f"{100 * value:.1f}%"


def setting(value: object) -> str:
    """Format the value of a configuration's field."""
    if value is None:
        return NOTHING
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def counted(count: int, noun: str) -> str:
    """Format a number with its noun, in the plural if needed."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def unit_of(seconds: float) -> tuple[str, float]:
    """Return the unit of a time axis of this length, and the unit's seconds."""
    return ("seconds", 1.0) if seconds < 180 else ("minutes", 60.0) if seconds < 3 * 3600 else ("hours", 3600.0)


def duration(seconds: float) -> str:
    """Format seconds in the two units that matter."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def finite(value: Any) -> Any:
    """Convert `value` for JSON: NumPy numbers to Python's, NaN and infinity to None, tuples to lists."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return finite(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plotly_text(text: str) -> str:
    """Escape `text` for Plotly, which reads some HTML but leaves quotes as they are."""
    return escape(text, quote=False)


def printable(text: str) -> str:
    r"""Make `text` encodable as UTF-8: a byte of a file name that is not text becomes \udcXX."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
