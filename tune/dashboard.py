"""The study in Optuna's dashboard: a copy of it, so that whoever looks can never lock a search."""

import os
import sqlite3
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import optuna

from search_spaces import InputError
from tune.experiment import Experiment
from tune.mirror import SQLITE, copy_without_trace

REFRESH = 5.0
"""Seconds between two copies of a study that a search may be writing to."""


def dashboard(experiment: Experiment, port: int) -> None:
    """Show the study on this machine until Ctrl-C.

    Raises:
        InputError: the dashboard is not installed, or the port is taken.
    """
    try:
        from optuna_dashboard import run_server  # type: ignore[import-untyped]
    except ImportError:
        raise InputError("dashboard needs optuna-dashboard: pip install 'toprung[dashboard]'") from None
    over = Event()
    with TemporaryDirectory(prefix="toprung-") as folder:
        copy = Path(folder) / "study.db"
        copy_study(experiment, copy)
        if experiment.storage.startswith(SQLITE):
            Thread(target=_refresh, args=(experiment, copy, over), daemon=True).start()
        print(f"http://127.0.0.1:{port}/dashboard/ shows a copy of the study; Ctrl-C ends it", flush=True)
        failures: list[OSError] = []

        def serve() -> None:
            try:
                run_server(f"{SQLITE}{copy}", host="127.0.0.1", port=port)
            except OSError as error:
                failures.append(error)

        # in a thread, as in the main one the server would take Ctrl-C for an error of a request
        server = Thread(target=serve, daemon=True)
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            server.start()
            with suppress(KeyboardInterrupt):
                while server.is_alive():
                    server.join(0.2)
            over.set()
        if failures:
            raise InputError(f"--port {port}: {failures[0].strerror}; give another")


def copy_study(experiment: Experiment, target: Path) -> None:
    """The study of an experiment as a file of SQLite's, which nobody else writes to."""
    storage = experiment.storage
    if storage.startswith(SQLITE):
        copy_without_trace(Path(storage.removeprefix(SQLITE)), target)
    else:
        name = experiment.settings.name
        optuna.copy_study(from_study_name=name, from_storage=storage, to_storage=f"{SQLITE}{target}")


def _refresh(experiment: Experiment, copy: Path, over: Event) -> None:
    while not over.wait(REFRESH):
        with suppress(sqlite3.Error, OSError):  # it is being read: the next time
            copy_study(experiment, copy)
