"""The tracking process, beside a search or after one: it polls a study and keeps W&B up to date."""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import closing, redirect_stdout, suppress
from pathlib import Path
from threading import Event, Thread
from typing import NoReturn, TextIO

import wandb
from sqlalchemy.exc import SQLAlchemyError

from tune.experiment.experiment import Experiment
from tune.experiment.folder import ExperimentFolder
from tune.experiment.study import WatchedStudy
from tune.settings.settings import make
from tune.terminal.console import quiet_optuna
from tune.tracking.process import GAVE_UP
from tune.tracking.runs import Runs

POLL_EVERY_S = 1.0
"""Seconds between two readings of the study; more if reading takes long."""

SHARE = 20.0
"""The least ratio of the pause to the time that a reading takes."""


def main(argv: Sequence[str]) -> None:
    """Track an experiment until standard input ends, then its results; print messages for a person."""
    mode, task = argv[0], json.loads(argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(10)  # trials come first
    said = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    experiment = Experiment.load(ExperimentFolder(Path(task["folder"]), task["url"]))
    settings = make({**experiment.settings.model_dump(), **task["settings"]})
    over = Event()
    Thread(target=_wait_for_end, args=(over,), daemon=True).start()
    if mode == "online" and task["patience"] is not None:
        Thread(target=_limit, args=(over, task["patience"], said), daemon=True).start()
    with quiet_optuna(), redirect_stdout(sys.stderr):  # W&B prints
        runs = Runs(experiment, settings, online=mode == "online", say=lambda line: print(line, file=said))
        try:
            follow(runs, task["study"], settings.name, over)
        except Exception as error:  # whatever the error, the study has all, and offline runs may work
            traceback.print_exc()
            if mode == "online":
                url = wandb.setup().settings.base_url
                _give_up(said, f"{url}: {reason_of(error)}", beside_search=task["patience"] is not None)
            lost = f"{runs.folder}: {reason_of(error)}; nothing is lost, send runs with: toprung track {experiment}"
            _end(said, lost)
        else:
            if mode == "online" and task["patience"] is None:
                print(f"W&B: all of it is there: {runs.told}", file=said)
            if mode != "online":
                print(f"W&B: runs are kept in {runs.folder}; send them with: toprung track {experiment}", file=said)
    said.flush()
    sys.stderr.flush()
    os._exit(0)  # W&B has nothing left to wait for


def follow(runs: Runs, study: str, name: str, over: Event) -> None:
    """Keep `runs` up to date with a study until the search is over, then show the results."""
    with closing(WatchedStudy(study, name)) as watched:
        runs.begin(watched.identity)
        pause = 0.0
        while True:
            last = over.wait(pause)
            began = time.monotonic()
            try:
                records = watched.records()
            except (SQLAlchemyError, OSError, KeyError):  # it is being written, or its server is gone for a while
                if last:
                    raise
                records = []
            pause = max(POLL_EVERY_S, SHARE * (time.monotonic() - began))
            runs.show(records)
            if last:
                break
    runs.end(records)


def reason_of(error: Exception) -> str:
    """Return the reason for W&B's failure in a line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")


def _limit(over: Event, patience: float, said: TextIO) -> None:
    """Give up on W&B if it has not taken everything `patience` seconds after the end of the search."""
    over.wait()
    time.sleep(patience)
    _give_up(said, f"has not taken all within {patience:.0f} s", beside_search=True)


def _give_up(said: TextIO, reason: str, *, beside_search: bool) -> NoReturn:
    _end(said, f"{reason}; {'going on without it' if beside_search else 'nothing is lost, try again later'}")


def _end(said: TextIO, what: str) -> NoReturn:
    print(f"warning: W&B: {what}", file=said)
    said.flush()
    sys.stderr.flush()
    os._exit(GAVE_UP)


def _wait_for_end(over: Event) -> None:
    """Set `over` when standard input ends, which it does with the search, even if that is killed."""
    sys.stdin.read()
    over.set()
