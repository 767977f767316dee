"""The process that mirrors an experiment to W&B: how it is started, and how long it is waited for."""

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

from tune.experiment.folder import Experiment
from tune.settings.settings import WANDB, Settings
from tune.terminal.console import working

LOG = "logs/wandb.log"

PATIENCE = 55.0
"""Seconds that a search waits at its end, at most."""

ONLINE_PATIENCE = 38.0
"""Seconds of these until what is not sent is written to files: they want some, too."""

GAVE_UP = 3
"""The exit code that says that W&B does not take it."""

OF_AN_AGENT = ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SERVICE")
"""Variables that would make of all runs that of an agent, or of a process above, that started the search."""


@contextmanager
def tracked(experiment: Experiment, study: str, settings: Settings, console: Console) -> Iterator[None]:
    """Mirror the experiment to W&B meanwhile, where the settings say so; `study` is the URL of its study.

    The search never waits for it, but at most `PATIENCE` at its end. Whatever it fails by, the study has all, and
    `toprung track` sends it later.
    """
    if settings.wandb == "off":
        yield
        return
    modes = ["online", "offline"] if settings.wandb == "online" else ["offline"]
    mirror = _Mirror(experiment, study, settings, modes, console, patience=ONLINE_PATIENCE)
    try:
        yield
    finally:
        with working(console, "W&B: sending what is left"):
            mirror.end(PATIENCE)


def track(experiment: Experiment, settings: Settings, console: Console) -> bool:
    """Mirror an experiment as it is now, as `settings.wandb` says, however long that takes; returns whether it is."""
    mirror = _Mirror(experiment, experiment.storage, settings, [settings.wandb], console)
    with working(console, f"W&B: {'sending' if settings.wandb == 'online' else 'writing'} runs"):
        return mirror.end(None)


class _Mirror:
    """A process for each mode, until one of them is done.

    Each is told by its standard input when the search is over, also where that is killed.
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
            "settings": settings.model_dump(include=set(WANDB), mode="json"),
        }
        self._changes = Lock()
        self._over = False
        self._process: subprocess.Popen[str] | None = None
        self._code = 0
        self._runs = Thread(target=self._run, args=(modes,), daemon=True)
        self._runs.start()

    def end(self, patience: float | None) -> bool:
        """Say that the search is over, and wait, in seconds, until all is mirrored; returns whether it is."""
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
        elif self._code and self._code != GAVE_UP:  # which it has said itself
            self._warn(f"its process has failed, see {self._experiment.folder / LOG}")
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
        log = self._experiment.folder / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "tune.tracking", mode, json.dumps(self._task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={name: value for name, value in os.environ.items() if name not in OF_AN_AGENT},
                start_new_session=True,  # Ctrl-C is the search's alone
            )

    def _close(self) -> None:
        if self._process and self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def _kill(self) -> None:
        """End the process, and with its session that of W&B, which would go on trying."""
        with self._changes:
            if self._process:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _warn(self, what: str) -> None:
        text = f"warning: W&B: {what}; nothing is lost, send it with: toprung track {self._experiment}"
        self._console.print(Text(text, style="yellow"), soft_wrap=True)
