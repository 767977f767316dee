"""A download of a file from the web, whole or not at all: resumed after a break, retried, checked.

It uses urllib: a download needs only a GET with two headers, and a library for that would be one more to import.
"""

import hashlib
import http.client
import json
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin

from search_spaces import InputError

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
ATTEMPTS = 5
"""The failures in a row, without a new byte, after which a server is given up."""
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
LONGEST_PAUSE = 60.0
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


class UnreachableError(Exception):
    """The server does not answer, or does not have the file."""


class _BrokenOffError(Exception):
    """A transfer that may succeed the next time; `pause` is the wait that the server asks for, in seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class _ChangedError(_BrokenOffError):
    """The file on the server is no longer the one whose download was begun."""

    def __init__(self) -> None:
        super().__init__("the file was changed during the download")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A handler that follows redirects, except from https to an address whose content others can change in transit."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.startswith("https:"):
            raise UnreachableError(f"{req.full_url} leads to {newurl}, which is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


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
            except _BrokenOffError as error:
                failures = 1 if part.size > most else failures + 1
                most = max(most, part.size)
                if isinstance(error, _ChangedError):
                    part.begin({})
                if failures == ATTEMPTS:
                    raise UnreachableError(f"{remote.url}: {error}, {ATTEMPTS} times") from None
                pause(min(max(error.pause, 2.0 ** (failures - 1)), LONGEST_PAUSE))
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


def read_list(url: str, pause: Callable[[float], None] = time.sleep) -> list[Any]:
    """Read a list in JSON, over all its pages if it has several (RFC 8288).

    Raises:
        UnreachableError: the server does not answer, or answers with something else.
    """
    entries: list[Any] = []
    page: str | None = url
    while page:
        content, page = _read_page(page, pause)
        entries += content
    return entries


def _read_page(url: str, pause: Callable[[float], None]) -> tuple[list[Any], str | None]:
    """Read a page of a list, and return it with the URL of the next one."""
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            with _opened(url, {}) as response:
                content, link = json.load(response), response.headers.get("Link", "")
        except _BrokenOffError as error:
            reason = str(error)
            pause(min(max(error.pause, 2.0**attempt), LONGEST_PAUSE))
            continue
        except (OSError, http.client.HTTPException) as error:
            reason = f"the connection broke off ({error})"
            pause(2.0**attempt)
            continue
        except ValueError:
            content = None
        if not isinstance(content, list):
            raise UnreachableError(f"{url} answers with something that is no list")
        following = re.search(r'<([^>]+)>; *rel="next"', link)
        return content, urljoin(url, following[1]) if following else None
    raise UnreachableError(f"{url}: {reason}, {ATTEMPTS} times")


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
    with _opened(remote.url, headers) as response:
        total = _total(response, remote)
        if response.status == 206:
            if not start or not _follows(response, start, card):
                raise _ChangedError
        else:  # the whole file: on the first try, if the server knows no ranges, or if the file was changed
            start = 0
            part.begin({"url": remote.url, "size": total, "validator": _validator(response)})
        need_space(part.path.parent, (total or 0) - start)
        advance(start, total)
        _append(response, remote, part, start, total, advance)


def _opened(url: str, headers: Mapping[str, str]) -> Any:
    """Return the response to a GET."""
    request = urllib.request.Request(url, headers={"User-Agent": "toprung", "Accept-Encoding": "identity", **headers})
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is longer than the file: it was changed
            raise _ChangedError from None
        if error.code not in TRANSIENT:
            raise UnreachableError(f"{url} answers {error.code} {error.reason}") from None
        after = error.headers.get("Retry-After", "")
        pause = float(after) if after.isdecimal() else 0.0
        raise _BrokenOffError(f"the server answers {error.code} {error.reason}", pause) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, socket.gaierror):
            raise UnreachableError(f"{request.host} cannot be found from here") from None
        raise _BrokenOffError(f"no connection ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(f"no connection ({str(error) or type(error).__name__})") from None


def _append(response: Any, remote: Remote, part: _Part, start: int, total: int | None, advance: Advance) -> None:
    there = start
    with part.path.open("ab") as file:
        while True:
            try:
                block = response.read(BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise _BrokenOffError(f"the connection broke off ({str(error) or type(error).__name__})") from None
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
        raise _BrokenOffError(f"the connection broke off after {there} of {total} bytes")


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
