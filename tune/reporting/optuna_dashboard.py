"""Optuna's dashboard on a copy of the study, so that viewing it can never lock a search."""

import sqlite3
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna

from search_spaces import InputError
from tune.experiment.experiment import SQLITE, STUDY, Experiment
from tune.experiment.study_backup import copy_without_trace

REFRESH_EVERY_S = 5.0
"""Seconds between copies of a study that a search may be writing to."""


def dashboard(experiment: Experiment, port: int) -> None:
    """Show the study on this machine until Ctrl-C.

    Raises:
        InputError: the dashboard is not installed, or the port is taken.
    """
    try:
        from optuna_dashboard import wsgi  # type: ignore[import-untyped]
    except ImportError:
        raise InputError("dashboard needs optuna-dashboard: pip install 'toprung[dashboard]'") from None
    with TemporaryDirectory(prefix="toprung-") as folder:
        copy = Path(folder) / STUDY
        copy_study(experiment, copy)
        try:
            server = make_server("127.0.0.1", port, wsgi(f"{SQLITE}{copy}"), handler_class=_Silent)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not from 0 to 65535"
            raise InputError(f"--port {port}: {reason}; give another") from None
        over = Event()
        # not in the main thread: there the server would treat Ctrl-C as an error of a request
        threads = [Thread(target=server.serve_forever)]
        if experiment.storage.startswith(SQLITE):
            threads.append(Thread(target=_refresh, args=(experiment, copy, over)))
        for thread in threads:
            thread.start()
        print(f"http://127.0.0.1:{port}/dashboard/ shows a copy of the study; Ctrl-C ends it", flush=True)
        try:
            with suppress(KeyboardInterrupt):
                over.wait()
        finally:
            over.set()
            server.shutdown()
            server.server_close()
            for thread in threads:
                thread.join()


class _Silent(WSGIRequestHandler):
    """A request handler without logging."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def copy_study(experiment: Experiment, target: Path) -> None:
    """Copy the study of an experiment to an SQLite file that nobody else writes to."""
    storage = experiment.storage
    if storage.startswith(SQLITE):
        copy_without_trace(Path(storage.removeprefix(SQLITE)), target)
    else:
        name = experiment.settings.name
        optuna.copy_study(from_study_name=name, from_storage=storage, to_storage=f"{SQLITE}{target}")


def _refresh(experiment: Experiment, copy: Path, over: Event) -> None:
    while not over.wait(REFRESH_EVERY_S):
        with suppress(sqlite3.Error, OSError):  # it is being read: try again at the next refresh
            copy_study(experiment, copy)
