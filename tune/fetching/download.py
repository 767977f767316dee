"""A download of a file from the web, whole or not at all: resumed after a break, retried, checked."""

import hashlib
import http.client
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces import InputError
from tune.fetching.web_requests import (
    LONGEST_PAUSE_S,
    MAX_FAILURES_IN_A_ROW,
    BrokenOffError,
    ChangedError,
    UnreachableError,
    opened,
)

BLOCK = 2**20

Advance = Callable[[int, int | None], None]
"""A callback that gets the number of bytes received and the total, if that is known."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file on the web.

    Attributes:
        url: its address.
        size: bytes, if that is published.
        checksum: as published: algorithm, ":", hexadecimal digits; None if none is.
    """

    url: str
    size: int | None = None
    checksum: str | None = None


def download(remote: Remote, file: Path, *, advance: Advance, pause: Callable[[float], None] = time.sleep) -> None:
    """Download to `file`, which appears once it is whole; a broken download continues in `file.part`.

    Args:
        remote: the file to download.
        file: the destination; if it exists already, it is only checked.
        advance: called with the progress.
        pause: called with the seconds to wait before a retry.

    Raises:
        UnreachableError: the server does not answer, or does not have the file.
        InputError: the content is not what was published, or the disk is full.
    """
    part = _Part(file)
    if not file.exists():
        failures, most = 0, part.size
        while True:
            try:
                _transfer(remote, part, advance)
                break
            except BrokenOffError as error:
                failures = 1 if part.size > most else failures + 1
                most = max(most, part.size)
                if isinstance(error, ChangedError):
                    part.begin({})
                if failures == MAX_FAILURES_IN_A_ROW:
                    raise UnreachableError(f"{remote.url}: {error}, {MAX_FAILURES_IN_A_ROW} times") from None
                pause(min(max(error.pause, 2.0 ** (failures - 1)), LONGEST_PAUSE_S))
        part.complete()
    try:
        check(file, remote.checksum, remote.url)
    except InputError:
        file.unlink()
        raise


def check(file: Path, checksum: str | None, source: str) -> None:
    """Compare a file with its published checksum, if there is one.

    Raises:
        InputError: the checksum differs.
    """
    algorithm, _, digest = (checksum or "").partition(":")
    if not digest:
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, algorithm).hexdigest()
    if found != digest:
        raise InputError(
            f"{source} has {algorithm} {found}, but {digest} is published: it was damaged or changed on the way; "
            "try again, or give a good copy by --from"
        )


def need_space(folder: Path, size: int) -> None:
    """Check that a disk has enough room.

    Args:
        folder: the folder, or its nearest existing parent, is on the disk.
        size: bytes that will be written.

    Raises:
        InputError: there is too little room.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise InputError(
            f"--to {folder}: {size / 2**20:,.0f} MiB are needed but {free / 2**20:,.0f} MiB are free; "
            "choose a folder on another disk"
        )


class _Part:
    """The downloaded beginning of a file, and the server's description of that file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.path = file.with_name(f"{file.name}.part")
        self._card = file.with_name(f"{file.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def card(self) -> dict[str, Any]:
        """The description of the whole file: "url", "size" and "validator", which is the value for If-Range."""
        try:
            card = json.loads(self._card.read_text())
        except (OSError, ValueError):
            card = None
        return card if isinstance(card, dict) else {}

    def begin(self, card: Mapping[str, Any]) -> None:
        """Drop the downloaded part, and note the description of the file that is coming."""
        self.path.unlink(missing_ok=True)
        self._card.write_text(json.dumps(card))

    def complete(self) -> None:
        self.path.replace(self._file)
        self._card.unlink(missing_ok=True)


def _transfer(remote: Remote, part: _Part, advance: Advance) -> None:
    """Try once to download all that is missing of `part`."""
    card, start = part.card, part.size
    resumable = start and card.get("url") == remote.url and card.get("validator")
    if not resumable:
        start = 0
    elif start == card["size"]:
        return
    headers = {"Range": f"bytes={start}-", "If-Range": card["validator"]} if start else {}
    with opened(remote.url, headers) as response:
        total = _total(response, remote)
        if response.status == 206:
            if not start or not _follows(response, start, card):
                raise ChangedError
        else:  # the whole file: on the first try, if the server knows no ranges, or if the file was changed
            start = 0
            part.begin({"url": remote.url, "size": total, "validator": _validator(response)})
        need_space(part.path.parent, (total or 0) - start)
        advance(start, total)
        _append(response, remote, part, start, total, advance)


def _append(response: Any, remote: Remote, part: _Part, start: int, total: int | None, advance: Advance) -> None:
    there = start
    with part.path.open("ab") as file:
        while True:
            try:
                block = response.read(BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise BrokenOffError(f"the connection broke off ({str(error) or type(error).__name__})") from None
            if not block:
                break
            there += len(block)
            if total is not None and there > total:
                raise InputError(f"{remote.url} sends more than the {total} bytes that it has; try again later")
            try:
                file.write(block)
            except OSError as error:
                raise InputError(f"--to {part.path}: {error.strerror}; choose a folder on another disk") from None
            advance(there, total)
    if total is not None and there < total:
        raise BrokenOffError(f"the connection broke off after {there} of {total} bytes")


def _follows(response: Any, start: int, card: Mapping[str, Any]) -> bool:
    """Return True if a partial response is the rest of the file that `card` describes."""
    unit, _, place = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = place.partition("/")
    same = response.headers.get("ETag") is None or not card["validator"].startswith('"')
    return (
        unit == "bytes"
        and span.partition("-")[0] == str(start)
        and total in ("*", str(card["size"]))
        and (same or response.headers["ETag"] == card["validator"])
    )


def _validator(response: Any) -> str:
    """Return the value for If-Range: a strong ETag, else the time of the last change; "" if there is neither."""
    tag, changed = (str(response.headers.get(name, "")) for name in ("ETag", "Last-Modified"))
    return tag if tag.startswith('"') else changed


def _total(response: Any, remote: Remote) -> int | None:
    """Return the bytes of the whole file, as the server says or, if it does not, as published.

    Raises:
        InputError: the server's size is not the published one.
    """
    if response.status == 206:
        said = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        said = response.headers.get("Content-Length", "")
    total = int(said) if said.isdecimal() else None
    if remote.size is not None and total not in (None, remote.size):
        raise InputError(f"{remote.url} has {total} bytes, but {remote.size} are published; try again later")
    return total if total is not None else remote.size
