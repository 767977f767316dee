"""Requests to web servers: a GET, the errors that tell if it is worth another try, and lists in JSON.

They use urllib: a GET with a few headers needs no more, and a library for that would be one more to import.
"""

import http.client
import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from typing import IO, Any
from urllib.parse import urljoin

SILENCE_TIMEOUT_S = 30.0
"""Seconds without a byte after which a connection counts as broken."""
MAX_FAILURES_IN_A_ROW = 5
"""The failures in a row, without a new byte, after which a server is given up."""
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
LONGEST_PAUSE_S = 60.0


class UnreachableError(Exception):
    """The server does not answer, or does not have the file."""


class BrokenOffError(Exception):
    """A transfer that may succeed the next time; `pause` is the wait that the server asks for, in seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class ChangedError(BrokenOffError):
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


def opened(url: str, headers: Mapping[str, str]) -> Any:
    """Return the response to a GET.

    Raises:
        UnreachableError: another try would not help.
        BrokenOffError: another try may succeed; ChangedError if only one from the beginning of the file can.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "toprung", "Accept-Encoding": "identity", **headers})
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=SILENCE_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is longer than the file: it was changed
            raise ChangedError from None
        if error.code not in TRANSIENT:
            raise UnreachableError(f"{url} answers {error.code} {error.reason}") from None
        after = error.headers.get("Retry-After", "")
        pause = float(after) if after.isdecimal() else 0.0
        raise BrokenOffError(f"the server answers {error.code} {error.reason}", pause) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, socket.gaierror):
            raise UnreachableError(f"{request.host} cannot be found from here") from None
        raise BrokenOffError(f"no connection ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOffError(f"no connection ({str(error) or type(error).__name__})") from None


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
    for attempt in range(MAX_FAILURES_IN_A_ROW):
        try:
            with opened(url, {}) as response:
                content, link = json.load(response), response.headers.get("Link", "")
        except BrokenOffError as error:
            reason = str(error)
            pause(min(max(error.pause, 2.0**attempt), LONGEST_PAUSE_S))
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
    raise UnreachableError(f"{url}: {reason}, {MAX_FAILURES_IN_A_ROW} times")
