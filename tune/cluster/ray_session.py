"""The Ray session of a search, and the destination of Ray's output."""

import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import TextIOBase
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined] # its stub lacks them
from rich.console import Console

from search_spaces import InputError
from tune.cluster.resources import this_machine
from tune.terminal.console import working

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files of each trial
    "RAY_AIR_NEW_OUTPUT": "0",  # no tables in the terminal at verbosity 0
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is handled by tune.tuning.deadline
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # no reports to Ray's makers: a search needs no network
    "RAY_COLOR_PREFIX": "0",  # the output of workers goes to a file
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # trials without a GPU choose the CPU by themselves
}
for variable, value in ENVIRONMENT.items():
    os.environ.setdefault(variable, value)

OBJECT_STORE_BYTES = 128 * 2**20
"""The size of Ray's object store. Nothing large goes through it: images and weights are files."""


PROBE_SECONDS = 5.0


def connect(address: str) -> None:
    """Connect to a running cluster.

    Raises:
        InputError: no cluster answers at `address`.
    """
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit():
            socket.create_connection((host, int(port)), PROBE_SECONDS).close()  # Ray itself would try for minutes
        _init(address=address)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--address {address}: {reason}; give host:port of a Ray head, or auto on a node") from None


def _init(**options: Any) -> None:
    ray.init(logging_level=logging.ERROR, log_to_driver=True, **options)  # the driver's output is in a file: see log_to


def _start() -> None:
    machine = this_machine()
    try:
        with _on_loopback():
            _init(
                address="local",
                num_cpus=int(machine["CPU"]),
                num_gpus=int(machine["GPU"]),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
            )
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"Ray does not start on this machine: {reason}; is it short of memory or time?") from error


@contextmanager
def ray_session(console: Console, start: Callable[[], None] = _start) -> Iterator[None]:
    """Run a Ray session on this machine, begun by `start`, unless the process has one already.

    Raises:
        InputError: Ray does not start.
    """
    if ray.is_initialized():
        yield
        return
    forget = _make_token()
    try:
        with working(console, "starting Ray"):
            try:
                start()
            except InputError:  # Ray gives its processes half a minute, too little on a busy machine
                console.print("Ray has not started in time; trying once more", style="yellow")
                ray.shutdown()
                start()
        yield
    finally:
        ray.shutdown()
        forget()  # after shutdown: if a second Ctrl-C ends that, Ray still needs the token at exit


def _make_token() -> Callable[[], None]:
    """Make a token that only this process and its workers know, and return the function that takes it back.

    Ray answers only processes that have the token. Ray's own token would be in a file that others may read. Values
    that the environment sets already take precedence.
    """
    ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    new = {name: value for name, value in ours.items() if name not in os.environ}
    os.environ.update(new)
    _read_environment()

    def forget() -> None:
        for name in new:
            del os.environ[name]
        _read_environment()

    return forget


def _read_environment() -> None:
    """Have Ray read the environment again: Ray reads it only once, and may have done so already."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Color codes for a terminal, which are not part of the text."""


class _Log(TextIOBase):
    """A file to write lines to. Lines are dropped if there is no room or the storage is gone."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        with suppress(OSError):
            self._file.write(COLOURS.sub("", text).encode(errors="backslashreplace"))
        return len(text)

    def fileno(self) -> int:
        """Return the file's descriptor, for code that writes past Python."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()
        super().close()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Make a Ray that is started meanwhile listen only on 127.0.0.1, as it always does on macOS and Windows.

    Elsewhere Ray listens on all addresses. It has no option against this: it replaces 127.0.0.1 by an outer address.
    """
    with_others = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = with_others


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send what Ray logs or prints to a file, so that only the console writes to the screen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("ray")
    before, propagate = logger.handlers[:], logger.propagate
    with _Log(path) as file, redirect_stdout(file), redirect_stderr(file):
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.handlers, logger.propagate = [handler], False
        try:
            yield
        finally:
            logger.handlers, logger.propagate = before, propagate
