"""The process that tracks an experiment in W&B: its start, and the wait for it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread

from rich.console import Console
from rich.text import Text

from tune.cluster.wandb_private import RUN_VARIABLES
from tune.experiment.experiment import Experiment
from tune.settings.groups import WandbSettings
from tune.settings.settings import Settings
from tune.terminal.console import working

TRACKER_LOG = "logs/wandb.log"

SEARCH_END_TIMEOUT_S = 55.0
"""The most seconds that a search waits for W&B at its end."""

ONLINE_TIMEOUT_S = 38.0
"""Seconds of `SEARCH_END_TIMEOUT_S` after which unsent data are written to files, which takes some time, too."""

GAVE_UP = 3
"""The exit code for a W&B that does not take the data."""


@contextmanager
def tracked(experiment: Experiment, study: str, settings: Settings, console: Console) -> Iterator[None]:
    """Track the experiment in W&B during the block, if the settings say so; `study` is the URL of its study.

    The search never waits for W&B, except `SEARCH_END_TIMEOUT_S` at its end at most. Whatever fails, the study has all
    the data, and `toprung track` sends them later.
    """
    if settings.wandb == "off":
        yield
        return
    modes = ["online", "offline"] if settings.wandb == "online" else ["offline"]
    tracker = _Tracker(experiment, study, settings, modes, console, patience=ONLINE_TIMEOUT_S)
    try:
        yield
    finally:
        with working(console, "W&B: sending what is left"):
            tracker.end(SEARCH_END_TIMEOUT_S)


def track(experiment: Experiment, settings: Settings, console: Console) -> bool:
    """Send an experiment to W&B as it is now, as `settings.wandb` says and without a time limit.

    Returns True if all of it is sent or, offline, written.
    """
    tracker = _Tracker(experiment, experiment.storage, settings, [settings.wandb], console)
    with working(console, f"W&B: {'sending' if settings.wandb == 'online' else 'writing'} runs"):
        return tracker.end(None)


class _Tracker:
    """The tracking process in each mode in turn, until one succeeds.

    Each process learns from its standard input that the search is over, even if the search is killed.
    """

    def __init__(
        self,
        experiment: Experiment,
        study: str,
        settings: Settings,
        modes: list[str],
        console: Console,
        *,
        patience: float | None = None,
    ) -> None:
        self._experiment, self._console = experiment, console
        self._task = {
            "folder": str(experiment.folder),
            "url": experiment.url,
            "study": study,
            "patience": patience,
            "settings": settings.model_dump(include=set(WandbSettings.model_fields), mode="json"),
        }
        self._changes = Lock()
        self._over = False
        self._process: subprocess.Popen[str] | None = None
        self._code = 0
        self._runs = Thread(target=self._run, args=(modes,), daemon=True)
        self._runs.start()

    def end(self, patience: float | None) -> bool:
        """Tell the process that the search is over, wait up to `patience` seconds, and return True if all is sent."""
        try:
            with self._changes:
                self._over = True
                self._close()
            self._runs.join(patience)
            late = self._runs.is_alive()
        finally:
            self._kill()
        if late:
            self._warn(f"it has not taken all within {patience:.0f} s")
        elif self._code and self._code != GAVE_UP:  # the process itself reports GAVE_UP
            self._warn(f"its process has failed, see {self._experiment.folder / TRACKER_LOG}")
        return not late and not self._code

    def _run(self, modes: list[str]) -> None:
        for mode in modes:
            with self._changes:
                self._process = process = self._start(mode)
                if self._over:
                    self._close()
            assert process.stdout
            with process.stdout as said:
                for line in said:
                    style = "yellow" if line.startswith("warning") else ""
                    self._console.print(Text(line.rstrip("\n"), style=style), soft_wrap=True)
            code = process.wait()
            self._close()
            self._kill()
            if code != GAVE_UP:
                self._code = code
                return
        self._code = GAVE_UP

    def _start(self, mode: str) -> "subprocess.Popen[str]":
        log = self._experiment.folder / TRACKER_LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "tune.tracking", mode, json.dumps(self._task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={name: value for name, value in os.environ.items() if name not in RUN_VARIABLES},
                start_new_session=True,  # Ctrl-C is for the search only
            )

    def _close(self) -> None:
        if self._process and self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def _kill(self) -> None:
        """Kill the process and, through its session, W&B's own, which would keep trying."""
        with self._changes:
            if self._process:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _warn(self, what: str) -> None:
        text = f"warning: W&B: {what}; nothing is lost, send it with: toprung track {self._experiment}"
        self._console.print(Text(text, style="yellow"), soft_wrap=True)
