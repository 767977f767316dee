"""The storages of studies: SQLite and PostgreSQL, as Optuna opens them and as a search needs them to fail."""

import sqlite3
from collections.abc import Mapping
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy import event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from search_spaces import InputError
from tune.experiment.optuna_private import RDBStorage

SERVER = {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": 30_000}
"""Seconds, seconds and milliseconds after which libpq gives up on a silent PostgreSQL. By default it takes hours."""

OF_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
"""SQLite's errors that come from its disk."""


def open_storage(url: str) -> RDBStorage:
    """Open the storage at a URL, and make its tables if it has none.

    Its lost connections and full disks become OSErrors.

    Raises:
        InputError: the storage cannot be used.
    """
    try:
        options = _options(url)
        if options:
            _make_tables(url, options)
        storage = RDBStorage(url, options)
        if storage.engine.dialect.name == "sqlite":
            event.listen(storage.engine, "connect", _write_ahead)
            storage.engine.dispose()  # close the connection that made the tables
        event.listen(storage.engine, "handle_error", _as_gone)
        return storage
    except Exception as error:  # from SQLAlchemy, a driver or Optuna, by the kind of storage
        raise refused(url, error) from None


def _options(url: str) -> dict[str, Any]:
    """Return SQLAlchemy's options for a PostgreSQL that was restarted or fell silent; none for other storages."""
    parsed = make_url(url)
    if not parsed.drivername.startswith("postgresql"):
        return {}
    return {"pool_pre_ping": True, "connect_args": {k: v for k, v in SERVER.items() if k not in parsed.query}}


def _make_tables(url: str, options: Mapping[str, Any]) -> None:
    """Have Optuna make its tables. It takes three steps, and another new search may be first at each of them."""
    for left in (3, 2, 1, 0):
        try:
            RDBStorage(url, {**options, "poolclass": NullPool})  # a failed storage cannot be told to close connections
            return
        except (IntegrityError, ProgrammingError):
            if not left:
                raise


def refused(url: str, error: Exception) -> InputError:
    """Return the error for a storage that cannot be used, with its cause and the way out."""
    cause: BaseException = error
    if isinstance(error, StorageInternalError) and error.__cause__:
        cause = error.__cause__
    scheme = url.partition(":")[0]
    if isinstance(cause, ImportError) and scheme == "postgresql":
        return InputError(f"--storage {url}: needs psycopg: pip install 'toprung[postgres]'")
    way = "give an Optuna storage URL, such as postgresql://USER@HOST/DATABASE"
    if isinstance(cause, DBAPIError | OSError) and not scheme.startswith("sqlite"):
        way = "is the server up, and may you write there? a password comes from PGPASSWORD or ~/.pgpass"
    return InputError(f"--storage {url}: {_reason(cause)}; {way}")


def _reason(error: BaseException) -> str:
    """Return the first line of a driver's error message."""
    text = str(error.orig if isinstance(error, DBAPIError) else error).strip() or type(error).__name__
    return text.splitlines()[0]


def _as_gone(context: ExceptionContext) -> None:
    """Raise OSError for a server that is gone or a disk that is full, as other failing storages do.

    Optuna lets OSError pass. After SQLAlchemy's own error, it would begin a trial again, though the first may be there.
    """
    failed = context.sqlalchemy_exception
    to_connect = context.connection is None and isinstance(failed, OperationalError)
    code = getattr(context.original_exception, "sqlite_errorcode", 0) & 0xFF  # the higher bits only add detail
    if failed and not context.is_pre_ping and (context.is_disconnect or to_connect or code in OF_DISK):
        raise ConnectionError(_reason(failed))


def _write_ahead(connection: sqlite3.Connection, _: object) -> None:
    """Set write-ahead logging: reports and dashboards never lock out the search, and a commit takes half the time.

    A killed process loses nothing. A power cut may lose the last commits, but leaves the file whole.
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
