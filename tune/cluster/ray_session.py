"""The Ray session of a search, and the destination of Ray's output."""

import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import TextIOBase
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from search_spaces import InputError
from tune.cluster.ray_private import keeping_keys, listening_on_loopback, read_environment
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
"""Settings of Ray for a search. Values that the environment sets already take precedence."""

OBJECT_STORE_BYTES = 128 * 2**20
"""The size of Ray's object store. Nothing large goes through it: images and weights are files."""


PROBE_TIMEOUT_S = 5.0


@contextmanager
def ray_environment() -> Iterator[None]:
    """Set what Ray reads of this process's environment during a search, and take it back."""
    with variables({name: value for name, value in ENVIRONMENT.items() if name not in os.environ}), keeping_keys():
        yield


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables during the block, and restore them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def connect(address: str) -> None:
    """Connect to a running cluster.

    Raises:
        InputError: no cluster answers at `address`.
    """
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit():
            socket.create_connection((host, int(port)), PROBE_TIMEOUT_S).close()  # Ray itself would try for minutes
        _init(address=address)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--address {address}: {reason}; give host:port of a Ray head, or auto on a node") from None


def _init(**options: Any) -> None:
    ray.init(logging_level=logging.ERROR, log_to_driver=True, **options)  # the driver's output is in a file: see log_to


def _start() -> None:
    machine = this_machine()
    try:
        with listening_on_loopback():
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
    read_environment()

    def forget() -> None:
        for name in new:
            del os.environ[name]
        read_environment()

    return forget


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
