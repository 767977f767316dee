"""Live progress: one screen in a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from ray.tune import Callback
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search_spaces import space_of
from tune.experiment.study import SearchStudy
from tune.experiment.trial_ranking import choose
from tune.experiment.trial_record import TrialRecord
from tune.settings.settings import Settings
from tune.terminal.console import clock

PLAIN_EVERY_S = 15.0
"""Seconds between lines where the output is no terminal."""
REDRAW_EVERY_S = 0.25


class Progress(Callback):
    """A callback that shows the progress of a search. It is a context manager; Ray calls it between events."""

    def __init__(
        self, console: Console, settings: Settings, study: SearchStudy, used: Callable[[], float], *, concurrent: int
    ) -> None:
        self._console, self._settings, self._study, self._used = console, settings, study, used
        self._concurrent = concurrent
        self._live = (
            Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
            if console.is_terminal
            else None
        )
        self._drawn = -float("inf")

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        if kind is None and self._settings.progress != "none":
            self._console.print(self._line(), soft_wrap=True, highlight=False)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Redraw if it is time. Ray calls this after each event."""
        if time.monotonic() - self._drawn > (REDRAW_EVERY_S if self._live else PLAIN_EVERY_S):
            self._show()

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state: Ray pickles its Tuner for `Tuner.restore`, which is not used here."""
        return {}

    def _show(self) -> None:
        self._drawn = time.monotonic()
        if self._live:
            self._live.update(self._screen(), refresh=True)
        elif self._settings.progress != "none":
            self._console.print(self._line(), soft_wrap=True, highlight=False)

    def _line(self) -> str:
        counts = Counter(record.state for record in self._study.records)
        states = ", ".join(f"{counts[state]} {state}" for state in ("running", "pruned", "complete", "failed"))
        found = best_records(self._study.records, self._settings)
        best = ", ".join(f"{recipe} {record.value:.4f}" for recipe, record in found.items())
        left = self._left()
        return (
            f"{clock(self._used())}{f', {left}' if left else ''}: {states}"
            f"{f'; best val {self._settings.metric}: {best}' if best else ''}"
        )

    def _left(self) -> str:
        if self._settings.time_budget:
            return f"{clock(max(0.0, self._settings.time_budget - self._used()))} left"
        guess = seconds_left(self._study.records, self._settings)
        return "" if not guess else f"about {clock(guess / self._concurrent)} left with finals"

    def _screen(self) -> Group:
        records, settings = self._study.records, self._settings
        done = sum(record.state != "running" for record in records)
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=settings.trials, completed=done, width=40)
        head.add_row(
            Text(settings.name, style="bold"), bar, f"{done}/{settings.trials}", clock(self._used()), self._left()
        )
        table = Table("recipe", "running", "pruned", "complete", "failed", f"best val {settings.metric}", "of trial")
        for column in table.columns[1:]:
            column.justify = "right"
        best = best_records(records, settings)
        for recipe in settings.recipes:
            counts = Counter(record.state for record in records if record.recipe == recipe)
            top = best.get(recipe)
            figures = (f"{top.value:.4f}", str(top.number)) if top else ("", "")
            states = (str(counts[state]) for state in ("running", "pruned", "complete", "failed"))
            table.add_row(recipe, *states, *figures)
        running = [
            f"trial {r.number} {r.recipe}, epoch {len(r.epochs)} of {settings.max_epochs}"
            for r in records
            if r.state == "running"
        ]
        return Group(head, table, Text("\n".join(running[:8]), style="dim"))


def seconds_left(records: list[TrialRecord], settings: Settings) -> float | None:
    """Estimate the seconds that remaining trials and finals need; None until each recipe has a trial that ended.

    The estimate uses the times of each recipe's own trials. A running trial that has already taken longer than the mean
    is taken for one that is not stopped early. Finals are never stopped early.
    """
    left, of_default = 0.0, 0.0
    share = settings.trials / len(settings.recipes)
    for recipe in settings.recipes:
        own = [record for record in records if record.recipe == recipe]
        ended = [record.seconds for record in own if record.state != "running"]
        if not ended:
            return None
        each, longest = sum(ended) / len(ended), max(record.seconds for record in own)
        left += max(0.0, share - len(own)) * each
        for record in own:
            if record.state == "running":
                left += (each if record.seconds < each else longest) - record.seconds
        seeds = 1 if space_of(recipe).deterministic else len(settings.seeds_of_finals)
        of_seeds = seeds * longest * (1 if settings.final_train == "train" else 2)
        left += settings.final_top * of_seeds
        of_default = max(of_default, of_seeds)  # the recipe of the default point is not known before there is a winner
    return left + of_default


def best_records(records: list[TrialRecord], settings: Settings) -> dict[str, TrialRecord]:
    """Return each recipe's best trial so far."""
    best = choose(records, settings.milestones, 1, maximize=settings.objective.maximize)
    return {record.recipe: record for record in best}
