"""Who searches in an experiment that is kept in a bucket, where no lock of a machine reaches."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from uuid import uuid4

from search_spaces import InputError
from trainables.storage.synced_folder import SyncedFolder, patiently, reason_of

LEASE = ".searching.json"
"""The file in which a process says again and again that it is there."""

BEAT = 5.0
"""Seconds after which it says so again."""

SILENT = 3 * BEAT
"""Seconds after which a process that said nothing is taken for lost."""

Taken = Callable[[], InputError | None]
"""The error to end with where another process has gone on with the search meanwhile."""


@contextmanager
def leased(place: SyncedFolder) -> Iterator[Taken]:
    """Be the only process that searches in a place; clocks are not compared, as those of machines differ.

    One that was cut off for longer than `SILENT` may find that another has gone on: it has to end.

    Raises:
        InputError: another process searches there, or the place is out of reach.
    """
    lease = _Lease(place)
    try:
        patiently(lease.take, place.patience)
    except OSError as error:
        raise InputError(f"{place}: cannot be written: {reason_of(error)}; go on when it is back") from None
    ended = threading.Event()
    thread = threading.Thread(target=lease.keep, args=(ended,), daemon=True)
    thread.start()
    try:
        yield lambda: lease.taken
    finally:
        ended.set()
        thread.join(SILENT)
        if lease.taken is None:
            with suppress(OSError):
                lease.give_back()


class _Lease:
    """The file, as one process sees it; `taken` is why it may not go on."""

    def __init__(self, place: SyncedFolder) -> None:
        self._place = replace(place, patience=0.0)
        self._own = {"writer": uuid4().hex, "host": socket.gethostname(), "process": os.getpid()}
        self._beats = 0
        self.taken: InputError | None = None

    def take(self) -> None:
        """Take it, as soon as nobody has it."""
        found, end = self._read(), time.monotonic() + SILENT
        while found and time.monotonic() < end:
            time.sleep(BEAT / 5)
            now = self._read()
            if now and now != found:
                raise self._searched_by(now)
            found = now
        self._write()
        time.sleep(BEAT / 5)  # another may have found nothing at the same time: the last one to write has it
        now = self._read()
        if now and not self._is_own(now):
            raise self._searched_by(now)

    def keep(self, ended: threading.Event) -> None:
        """Say again and again that this process is there, until it is the wrong one."""
        while not ended.wait(BEAT):
            with suppress(OSError):
                now = self._read()
                if now and not self._is_own(now):
                    self.taken = self._searched_by(now)
                    return
                self._write()

    def give_back(self) -> None:
        """Let others search there at once."""
        self._place.remove(LEASE)
        (self._place.folder / LEASE).unlink(missing_ok=True)

    def _searched_by(self, found: dict[str, object]) -> InputError:
        who = f"process {found['process']} of {found['host']}"
        return InputError(f"{self._place} is being searched by {who}; wait for it, or stop it")

    def _is_own(self, found: dict[str, object]) -> bool:
        return found["writer"] == self._own["writer"]

    def _read(self) -> dict[str, object] | None:
        text = self._place.read(LEASE) if self._place.exists(LEASE) else None
        found: dict[str, object] | None = json.loads(text) if text else None
        return found

    def _write(self) -> None:
        self._beats += 1
        self._place.write(LEASE, json.dumps({**self._own, "beats": self._beats}))
