"""The server, and no waiting between attempts."""

from collections.abc import Iterator

import pytest

from fetching.web import Web, serving


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as web:
        yield web
