"""The search lock of an experiment that is kept in a bucket, which a machine's file lock cannot protect."""

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
"""The search lock's file, which its holder rewrites again and again to show that it is alive."""

HEARTBEAT_S = 5.0
"""Seconds after which the holder rewrites the file."""

LOST_AFTER_S = 3 * HEARTBEAT_S
"""Seconds of silence after which the holder is taken for lost."""

Taken = Callable[[], InputError | None]
"""A function that returns the error to end with if another process has taken over the search, else None."""


@contextmanager
def leased(
    place: SyncedFolder, *, heartbeat_s: float = HEARTBEAT_S, lost_after_s: float = LOST_AFTER_S
) -> Iterator[Taken]:
    """Hold the search lock of a place, so that only this process searches there.

    Clocks are not compared, because those of machines differ. A process that was cut off for longer than `lost_after_s`
    may find that another has taken over. It then has to end.

    Args:
        place: the folder, with its copy in the bucket.
        heartbeat_s: seconds after which the holder rewrites the file.
        lost_after_s: seconds of silence after which the holder is taken for lost.

    Raises:
        InputError: another process searches there, or the place is out of reach.
    """
    lease = _Lease(place, heartbeat_s, lost_after_s)
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
        thread.join(lost_after_s)
        if lease.taken is None:
            with suppress(OSError):
                lease.give_back()


class _Lease:
    """The search lock, as one process sees it. `taken` is the reason why the process may not go on, or None."""

    def __init__(self, place: SyncedFolder, heartbeat_s: float, lost_after_s: float) -> None:
        self._place = replace(place, patience=0.0)
        self._heartbeat_s, self._lost_after_s = heartbeat_s, lost_after_s
        self._own = {"writer": uuid4().hex, "host": socket.gethostname(), "process": os.getpid()}
        self._beats = 0
        self.taken: InputError | None = None

    def take(self) -> None:
        """Take the lock as soon as nobody holds it, or raise an error if its holder is alive."""
        found, end = self._read(), time.monotonic() + self._lost_after_s
        while found and time.monotonic() < end:
            time.sleep(self._heartbeat_s / 5)
            now = self._read()
            if now and now != found:
                raise self._searched_by(now)
            found = now
        self._write()
        time.sleep(self._heartbeat_s / 5)  # another process may have found it free too: the last to write holds it
        now = self._read()
        if now and not self._is_own(now):
            raise self._searched_by(now)

    def keep(self, ended: threading.Event) -> None:
        """Rewrite the file again and again, until another process has taken the lock."""
        while not ended.wait(self._heartbeat_s):
            with suppress(OSError):
                now = self._read()
                if now and not self._is_own(now):
                    self.taken = self._searched_by(now)
                    return
                self._write()

    def give_back(self) -> None:
        """Release the lock, so that others can search there at once."""
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
