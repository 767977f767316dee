"""A search under way, as all of its stages use it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from tune.cluster.resources import Resources
from tune.experiment.experiment import Experiment
from tune.experiment.study import SearchStudy
from tune.experiment.trial_context import TrialContext
from tune.settings.settings import Settings
from tune.terminal.console import clock, working
from tune.tuning.deadline import Deadline


@dataclass(frozen=True, kw_only=True)
class SearchContext:
    """A search under way.

    Attributes:
        experiment: its folder and settings.
        study: all of its trials.
        resources: of a trial, and how many trials run at a time.
        deadline: the end of the search, and the time it has run.
        console: for messages to a person.
    """

    experiment: Experiment
    study: SearchStudy
    resources: Resources
    deadline: Deadline
    console: Console

    @property
    def settings(self) -> Settings:
        """The settings of the search."""
        return self.experiment.settings

    @property
    def trial_context(self) -> TrialContext:
        """The context of its training processes."""
        return TrialContext.of(self.experiment, self.resources.device, self.resources.threads)

    @contextmanager
    def counting(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """Yield a function that shows how many trainings are done, of how many; in place, or as lines."""
        with working(self.console, label) as say:

            def show(done: int, total: int) -> None:
                say(f"{label}: {done} of {total}")
                self.deadline.note()
                if not self.console.is_terminal and self.settings.progress != "none":
                    self.console.print(f"{clock(self.deadline.used())} {label}: {done} of {total}")

            yield show
