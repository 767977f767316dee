"""A web server on this machine that fails as it is told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """Files by path, and what goes wrong with them.

    Attributes:
        files: content by path, with the leading slash.
        ranges: whether Range is understood.
        validators: headers of every file, by which it is known again.
        answer: called with the number of a request, from 0, and its path; returns the status to answer with in place
            of the file, with headers, or None.
        cut: bytes after which the answer to the request of this number breaks off.
        lengthen: bytes that Content-Length says too many.
        requests: path and Range of every request.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    validators: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    answer: Callable[[int, str], tuple[int, dict[str, str]] | None] = lambda number, path: None
    cut: dict[int, int] = field(default_factory=dict)
    lengthen: int = 0
    requests: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Web]:
    """A running server."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            number = len(web.requests)
            web.requests.append((self.path, self.headers["Range"]))
            told = web.answer(number, self.path)
            if told or self.path not in web.files:
                status, headers = told or (404, {})
                self.reply(status, {"Content-Length": "0", **headers})
                return
            content = web.files[self.path]
            headers = dict(web.validators)
            status, start = 200, 0
            same = self.headers["If-Range"] in (None, *web.validators.values())
            if web.ranges and self.headers["Range"] and same:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.reply(416, {"Content-Length": "0"})
                    return
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content) + web.lengthen}"
            rest = content[start:]
            self.reply(status, {**headers, "Content-Length": str(len(rest) + web.lengthen)})
            self.wfile.write(rest[: web.cut.get(number, len(rest))])

        def reply(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
