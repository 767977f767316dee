"""The console of a search: its output, a spinner, and readable times."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

UNCUT = 1000
"""The width of tables in columns if no screen limits it."""


def console_of(progress: str) -> Console:
    """Return the console of a search; `progress` is the setting of that name."""
    terminal = {"auto": None, "bar": True, "plain": False, "none": False}[progress]
    return Console(file=sys.stdout, force_terminal=terminal, force_jupyter=False)


@contextmanager
def working(console: Console, text: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with a line of text during the block, only on a terminal; yield a function that changes the text.

    Output of other code goes where it would have gone anyway, to the log, and not through the console.
    """
    spinner = Spinner("dots", text)
    with Live(spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False):
        yield lambda text: spinner.update(text=text)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's notes off the terminal during the block, such as "A new study created"; its warnings remain."""
    from optuna import logging  # late, as it takes time to import

    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def clock(seconds: float) -> str:
    """Format seconds as minutes and seconds, or as hours and minutes."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}"


def table_console() -> Console:
    """Return standard output for tables: as wide as the terminal or COLUMNS, and uncut if there is neither."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNCUT)
