"""Requests to a server that redirects, fails and answers in pages."""

from urllib.request import Request

import pytest

from fetching.web import Web
from tune.fetching.web_requests import UnreachableError, _Redirects, read_list


def test_a_redirect_from_https_to_http_is_refused() -> None:
    request = Request("https://a.example/file")
    with pytest.raises(UnreachableError, match=r"leads to http://b\.example/file, which is not safe"):
        _Redirects().redirect_request(request, None, 302, "", {}, "http://b.example/file")  # type: ignore[arg-type]


def test_a_list_is_read_with_all_its_pages(web: Web) -> None:
    pauses: list[float] = []
    web.files |= {"/list": b'[{"path": "a"}]', "/list?page=2": b'[{"path": "b"}]', "/page": b"<html>", "/map": b"{}"}
    pages = {"/list": '</list?page=2>; rel="next"', "/list?page=2": "<x>; rel=prev"}

    def answer(number: int, path: str) -> tuple[int, dict[str, str]] | None:
        web.validators = {"Link": pages.get(path, "")}
        return (500, {}) if number in (1, 2) else None

    web.answer = answer
    assert read_list(f"{web.url}/list", pauses.append) == [{"path": "a"}, {"path": "b"}]
    assert pauses == [1, 2]
    for path in ("/page", "/map"):
        with pytest.raises(UnreachableError, match="answers with something that is no list"):
            read_list(f"{web.url}{path}", pauses.append)
    web.answer = lambda number, path: (500, {})
    with pytest.raises(UnreachableError, match="500 Internal Server Error, 5 times"):
        read_list(f"{web.url}/list", pauses.append)
