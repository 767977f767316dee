"""The console of a search: where it prints, a spinner, and times as people read them."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

UNCUT = 1000
"""Columns of a table that no screen limits."""


def console_of(progress: str) -> Console:
    """Return the console of a search; `progress` is the setting of that name."""
    terminal = {"auto": None, "bar": True, "plain": False, "none": False}[progress]
    return Console(file=sys.stdout, force_terminal=terminal, force_jupyter=False)


@contextmanager
def working(console: Console, text: str) -> Iterator[Callable[[str], None]]:
    """A line with a spinner while something is done, on a terminal alone; gives a function that changes its text.

    What others print meanwhile goes where it would have gone, to the log, and not through the console.
    """
    spinner = Spinner("dots", text)
    with Live(spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False):
        yield lambda text: spinner.update(text=text)


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, or hours and minutes."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}"


def table_console() -> Console:
    """Return standard output for tables: as wide as the terminal or COLUMNS, and not cut at all where neither is."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNCUT)
