"""Downloads from a server that breaks off, lies and fails."""

import hashlib
import random
import socket
from pathlib import Path

import pytest

from fetching.web import Web
from search_spaces import InputError
from tune.fetching.download import Remote, download
from tune.fetching.web_requests import UnreachableError

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def pauses(web: Web) -> list[float]:
    """The server has /file; the seconds that were waited between attempts."""
    web.files["/file"] = CONTENT
    return []


def get(web: Web, folder: Path, pauses: list[float], **facts: object) -> bytes:
    told: list[tuple[int, int | None]] = []
    remote = Remote(url=f"{web.url}/file", **facts)  # type: ignore[arg-type]
    download(remote, folder / "file", advance=lambda *done: told.append(done), pause=pauses.append)
    assert sorted(path.name for path in folder.iterdir()) == ["file"]
    if told:
        assert told[-1][0] == len(CONTENT)
    return (folder / "file").read_bytes()


def test_a_file_is_downloaded_at_once(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    assert get(web, tmp_path, pauses, size=len(CONTENT), checksum=SHA256) == CONTENT
    assert (web.requests, pauses) == ([("/file", None)], [])
    assert get(web, tmp_path, pauses, checksum=SHA256) == CONTENT
    assert len(web.requests) == 1, "what is there is not downloaded again"


@pytest.mark.parametrize("validators", [{"ETag": '"1"'}, {"Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}])
def test_a_broken_download_goes_on_where_it_was(
    web: Web, tmp_path: Path, pauses: list[float], validators: dict[str, str]
) -> None:
    web.cut, web.validators = {0: 100_000, 1: 150_000}, validators
    assert get(web, tmp_path, pauses, checksum=SHA256) == CONTENT
    assert [asked for _, asked in web.requests] == [None, "bytes=100000-", "bytes=250000-"]
    assert pauses == [1, 1], "an attempt that brought something is not held against the next"


def test_a_download_goes_on_in_another_process(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    web.cut, web.answer = {0: 1000}, lambda number, path: (404, {}) if number == 1 else None
    with pytest.raises(UnreachableError, match="404"):
        get(web, tmp_path, pauses)
    assert (tmp_path / "file.part").stat().st_size == 1000
    assert not (tmp_path / "file").exists()
    assert get(web, tmp_path, pauses, checksum=SHA256) == CONTENT
    assert web.requests[-1] == ("/file", "bytes=1000-")


def test_a_part_that_is_whole_is_not_asked_for_again(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    web.cut = {0: 1000}
    with pytest.raises(KeyboardInterrupt):
        download(
            Remote(url=f"{web.url}/file"), tmp_path / "file", advance=lambda *_: None, pause=_interrupt
        )  # fmt: skip
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert get(web, tmp_path, pauses) == CONTENT
    assert len(web.requests) == 1


def _interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["no ranges", "no validators", "weak validator"])
def test_where_it_cannot_go_on_it_begins_again(web: Web, tmp_path: Path, pauses: list[float], how: str) -> None:
    web.cut, web.ranges = {0: 100_000}, how != "no ranges"
    web.validators = {"no validators": {}, "weak validator": {"ETag": 'W/"1"'}}.get(how, web.validators)
    assert get(web, tmp_path, pauses, checksum=SHA256) == CONTENT
    assert len(web.requests) == 2


@pytest.mark.parametrize("new", [CONTENT[::-1], CONTENT[:50_000], CONTENT * 2], ids=["other", "shorter", "longer"])
def test_a_file_that_was_changed_meanwhile_is_not_glued_together(
    web: Web, tmp_path: Path, pauses: list[float], new: bytes
) -> None:
    def change(number: int, path: str) -> None:
        if number == 1:
            web.files["/file"], web.validators = new, {"Last-Modified": "Mon, 02 Nov 2026 00:00:00 GMT"}

    web.validators = {"Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}
    web.cut, web.answer = {0: 100_000}, change
    download(Remote(url=f"{web.url}/file"), tmp_path / "file", advance=lambda *_: None, pause=pauses.append)
    assert (tmp_path / "file").read_bytes() == new


@pytest.mark.parametrize(
    ("span", "tag"), [("bytes 0-9/300000", '"1"'), ("bytes 1000-9/77", '"1"'), ("bytes 1000-9/300000", '"2"'), ("", "")]
)
def test_a_partial_answer_that_is_not_the_rest_is_not_taken(
    web: Web, tmp_path: Path, pauses: list[float], span: str, tag: str
) -> None:
    wrong = (206, {"Content-Range": span, **({"ETag": tag} if tag else {})})
    web.cut, web.answer = {0: 1000}, lambda number, path: wrong if number == 1 else None
    assert get(web, tmp_path, pauses, checksum=SHA256) == CONTENT
    assert [asked for _, asked in web.requests] == [None, "bytes=1000-", None]


def test_errors_of_the_server_are_waited_for_and_longer_each_time(
    web: Web, tmp_path: Path, pauses: list[float]
) -> None:
    web.answer = lambda number, path: (
        [(500, {}), (503, {"Retry-After": "7"}), (500, {})][number] if number < 3 else None
    )
    assert get(web, tmp_path, pauses) == CONTENT
    assert pauses == [1, 7, 4]


def test_a_server_that_always_fails_is_given_up(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    web.answer = lambda number, path: (502, {})
    with pytest.raises(UnreachableError, match="/file: the server answers 502 Bad Gateway, 5 times"):
        get(web, tmp_path, pauses)
    assert len(web.requests) == 5


def test_a_server_that_breaks_off_sooner_and_later_by_turns_is_given_up(
    web: Web, tmp_path: Path, pauses: list[float]
) -> None:
    web.ranges, web.cut = False, {number: 1000 + 500 * (number % 2) for number in range(20)}
    with pytest.raises(UnreachableError, match="broke off after 1500 of 300000 bytes, 5 times"):
        get(web, tmp_path, pauses)
    assert len(web.requests) == 6, "what is no more than there was before is no progress"


def test_what_is_not_there_is_asked_for_once(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    del web.files["/file"]
    with pytest.raises(UnreachableError, match="/file answers 404 Not Found"):
        get(web, tmp_path, pauses)
    assert (len(web.requests), pauses) == (1, [])


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_promises_more_than_it_has_is_given_up(
    web: Web, tmp_path: Path, pauses: list[float], ranges: bool
) -> None:
    web.lengthen, web.ranges = 10, ranges
    with pytest.raises(UnreachableError, match="5 times"):
        get(web, tmp_path, pauses)
    assert len(web.requests) < 12
    assert not (tmp_path / "file").exists()


def test_a_size_other_than_the_published_one_is_refused_before_a_byte_is_read(
    web: Web, tmp_path: Path, pauses: list[float]
) -> None:
    with pytest.raises(InputError, match="/file has 300000 bytes, but 5 are published"):
        get(web, tmp_path, pauses, size=5)


def test_a_wrong_checksum_leaves_nothing(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    with pytest.raises(InputError, match=r"has md5 [0-9a-f]{32}, but 00ff is published: it was damaged or changed"):
        get(web, tmp_path, pauses, checksum="md5:00ff")
    assert not any(tmp_path.iterdir())


def test_redirects_are_followed_with_the_range(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    web.files["/there"] = web.files.pop("/file")
    web.answer = lambda number, path: (302, {"Location": f"{web.url}/there"}) if path == "/file" else None
    web.cut = {1: 1000}
    assert get(web, tmp_path, pauses, checksum=SHA256) == CONTENT
    assert web.requests == [("/file", None), ("/there", None), ("/file", "bytes=1000-"), ("/there", "bytes=1000-")]


def test_a_full_disk_is_seen_before_the_download(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    web.lengthen = 10**18
    with pytest.raises(
        InputError, match=r"953,674,316,[0-9]+ MiB are needed but [0-9,]+ MiB are free; choose a folder on another disk"
    ):
        get(web, tmp_path, pauses)


@pytest.mark.usefixtures("no_network")
def test_without_a_network_nothing_is_waited_for(tmp_path: Path, pauses: list[float]) -> None:
    with pytest.raises(UnreachableError, match=r"data\.example cannot be found from here$"):
        download(
            Remote(url="http://data.example/file"), tmp_path / "file", advance=lambda *_: None, pause=pauses.append
        )  # fmt: skip
    assert pauses == []


def test_a_server_that_is_gone_is_tried_again(web: Web, tmp_path: Path, pauses: list[float]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(UnreachableError, match=r"no connection \(.*refused\), 5 times"):
        download(
            Remote(url=f"http://127.0.0.1:{port}/f"), tmp_path / "f", advance=lambda *_: None, pause=pauses.append
        )  # fmt: skip
    assert pauses == [1, 2, 4, 8]
