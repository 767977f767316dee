"""The end of a search before its trials are used up: by its time budget, by a person or by the machine."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from search_spaces import InputError
from tune.experiment.study import SearchStudy

NOTE_EVERY_S = 5.0
"""Seconds between notes of the time used, from which a resumed search continues."""


class Interrupted(KeyboardInterrupt):
    """The search was stopped by a signal; it can be resumed."""


class HopelessError(InputError):
    """The search has ended because its trials all fail with the same error."""


class Deadline:
    """The end of searching: when the time is used up, or when a person or the machine asks to stop."""

    def __init__(self, study: SearchStudy, budget: float | None) -> None:
        self._study, self._budget = study, budget
        self._before, self._began = study.seconds, time.monotonic()
        self._spared = study.spared_seconds
        self._sparing_from: float | None = None
        self._noted = self._began
        self.searching, self.interrupted = True, False

    def used(self) -> float:
        """Return the seconds that the search has run, earlier processes included."""
        return self._before + time.monotonic() - self._began

    @contextmanager
    def sparing(self) -> Iterator[None]:
        """Suspend searching: the time inside does not count against the budget, and a signal ends the work at once."""
        self.searching, self._sparing_from = False, self.used()
        try:
            yield
        finally:
            self._spared, self._sparing_from, self.searching = self._all_spared(), None, True
            self.note()

    def _all_spared(self) -> float:
        return self._spared + (0.0 if self._sparing_from is None else self.used() - self._sparing_from)

    @property
    def over(self) -> bool:
        """True if the time for searching is used up."""
        return self._budget is not None and self.used() - self._all_spared() >= self._budget

    def reached(self) -> bool:
        """Return True if searching must end; note the time now and then."""
        if time.monotonic() - self._noted > NOTE_EVERY_S:
            self.note()
        return self.interrupted or self.over

    def note(self) -> None:
        """Write the time used into the study."""
        self._study.note_seconds(self.used(), self._all_spared())
        self._noted = time.monotonic()

    def end_searching(self) -> None:
        """Note that the trials are over: from now on, a signal ends the work at once."""
        self.searching = False


@contextmanager
def stopping(deadline: Deadline, console: Console, place: str) -> Iterator[None]:
    """End the search in order on Ctrl-C or SIGTERM, during the finals at once. A second signal always ends it at once.

    Raises:
        Interrupted: by the first signal, if it ends the work at once.
        KeyboardInterrupt: by the second signal.
    """
    again = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal again
        again, deadline.interrupted = deadline.interrupted, True
        if again or not deadline.searching:
            raise KeyboardInterrupt
        console.print(f"stopping in order; once more to stop at once; what is done is kept in {place}", soft_wrap=True)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    except KeyboardInterrupt:  # while waiting, Ray replaces any KeyboardInterrupt by its own
        if again:
            raise
        raise Interrupted from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
