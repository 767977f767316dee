"""Folders with a copy in a bucket, on a real S3 server; and what happens when it is gone."""

import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from uuid import uuid4

import pytest

from search_spaces import InputError
from tests.buckets import make_bucket, s3_server
from trainables.storage.synced_folder import SyncedFolder, patiently, reason_of

pytestmark = pytest.mark.slow  # most of it is the start of the server
LAST = "last.txt"


@pytest.fixture(scope="module")
def server() -> Iterator[Popen[str]]:
    with s3_server() as server:
        make_bucket("shelf")
        yield server


@pytest.fixture
def url(server: Popen[str]) -> str:
    return f"s3://shelf/{uuid4().hex}"


@pytest.fixture
def one(url: str, tmp_path: Path) -> SyncedFolder:
    return SyncedFolder(tmp_path / "one", url, patience=0.0)


@pytest.fixture
def other(one: SyncedFolder, tmp_path: Path) -> SyncedFolder:
    """The same on another machine."""
    return replace(one, folder=tmp_path / "other")


def write(place: SyncedFolder, *names: str, text: str = "text") -> None:
    for name in names:
        file = place.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def files(place: SyncedFolder) -> list[str]:
    found = (path for path in place.folder.rglob("*") if path.is_file() and path.name != ".sync.lock")
    return sorted(path.relative_to(place.folder).as_posix() for path in found)


def test_what_one_machine_pushes_another_fetches(one: SyncedFolder, other: SyncedFolder) -> None:
    assert one.is_empty()
    write(one, "a.txt", "b/c.txt", "b/d/e f%20+ä.txt")
    one.push("a.txt", "b", "none")
    assert not one.is_empty()
    assert other.exists("a.txt")
    assert not other.exists("b")
    other.fetch("a.txt", "none")
    assert files(other) == ["a.txt"]
    other.fetch_all(leave_out=["none"], last="a.txt")
    assert files(other) == files(one)
    assert (other.folder / "b" / "c.txt").read_text() == "text"


def test_what_is_here_as_it_is_there_is_not_fetched_again(one: SyncedFolder, other: SyncedFolder) -> None:
    write(one, "a.txt")
    one.push("a.txt")
    other.fetch("a.txt")
    before = (other.folder / "a.txt").stat()
    other.fetch("a.txt")
    assert (other.folder / "a.txt").stat() == before
    time.sleep(1.1)  # a bucket counts in seconds
    ahead = time.time() + 3600
    os.utime(other.folder / "a.txt", (ahead, ahead))  # as where this machine's clock is wrong
    write(one, "a.txt", text="TEXT")
    one.push("a.txt")
    other.fetch("a.txt")
    assert (other.folder / "a.txt").read_text() == "TEXT"


def test_folders_are_pulled_when_they_are_whole(one: SyncedFolder, other: SyncedFolder) -> None:
    write(one, f"whole/{LAST}", "whole/a", "part/a")
    one.push("whole", "part", last=LAST)
    other.pull(last=LAST)
    assert files(other) == ["whole/a", f"whole/{LAST}"]
    write(one, f"part/{LAST}")
    one.push("part", last=LAST)
    write(other, "part/b")  # left by a pull that was killed, or it would have the last file
    other.pull(last=LAST)
    assert files(other) == ["part/a", f"part/{LAST}", "whole/a", f"whole/{LAST}"]
    with pytest.raises(FileNotFoundError):
        other.pull_one("none", last=LAST)


def test_what_is_removed_there_stays_here(one: SyncedFolder, other: SyncedFolder) -> None:
    write(one, f"a/{LAST}", "a/b", "c", "a2/b")
    one.push("a", "a2", "c")
    one.remove("a", first=LAST)
    one.remove("none")
    other.fetch_all(leave_out=(), last=LAST)
    assert files(other) == ["a2/b", "c"]
    assert files(one) == ["a/b", f"a/{LAST}", "a2/b", "c"]
    one.remove()
    assert one.is_empty()


def test_folders_inside(one: SyncedFolder, other: SyncedFolder) -> None:
    write(one, "a/b")
    one.sub(".").sub("a").push("b")
    assert other.exists("a/b")
    assert str(one.sub("a")) == f"{one}/a"


def test_a_folder_that_all_see_needs_no_copying(tmp_path: Path) -> None:
    place = SyncedFolder(tmp_path)
    write(place, "a/b")
    place.push("a")
    place.fetch("a/b")
    place.fetch_all(leave_out=(), last="")
    place.pull(last=LAST)
    place.remove("a")
    assert files(place) == ["a/b"]
    assert place.exists("a/b")
    assert place.is_empty()


def test_the_copy_may_be_a_folder(tmp_path: Path) -> None:
    one = SyncedFolder(tmp_path / "one", str(tmp_path / "shared %20#?"))
    write(one, f"a/{LAST}", "a/b")
    one.push("a", last=LAST)
    other = replace(one, folder=tmp_path / "other")
    other.pull_one("a", last=LAST)
    assert files(other) == ["a/b", f"a/{LAST}"]


def test_a_server_that_is_gone_for_a_while_costs_nothing(server: Popen[str], one: SyncedFolder) -> None:
    write(one, "a")
    os.kill(server.pid, signal.SIGSTOP)
    wakes = threading.Timer(5, os.kill, (server.pid, signal.SIGCONT))
    wakes.start()
    try:
        replace(one, patience=60.0).push("a")
    finally:
        wakes.join()
    assert one.exists("a")


def test_writing_is_tried_and_leaves_nothing(server: Popen[str], one: SyncedFolder, tmp_path: Path) -> None:
    one.try_writing(".tried")
    assert one.is_empty()
    assert list(one.folder.iterdir()) == []
    with pytest.raises(OSError, match="nobody"):
        replace(one, copy="s3://nobody/x").try_writing(".tried")
    assert list(one.folder.iterdir()) == []


def test_it_is_tried_again_until_patience_is_at_its_end() -> None:
    tried = []

    def fail(error: type[OSError]) -> None:
        tried.append(error)
        raise error("no")

    with pytest.raises(ConnectionError):
        patiently(lambda: fail(ConnectionError), 0.6)
    with pytest.raises(FileNotFoundError):
        patiently(lambda: fail(FileNotFoundError), 100.0)
    assert tried == [ConnectionError, ConnectionError, FileNotFoundError]


def test_what_is_missing_while_a_folder_is_gone_is_not_believed(tmp_path: Path) -> None:
    place = SyncedFolder(tmp_path / "nfs", patience=60.0)
    place.folder.mkdir()
    (place.folder / "saved").write_text("1")
    found: list[str] = []

    def read() -> str:
        if not found:  # it goes while it is read, and comes back
            place.folder.rename(tmp_path / "away")
            threading.Timer(0.2, (tmp_path / "away").rename, (place.folder,)).start()
        found.append("")
        return (place.folder / "saved").read_text() if (place.folder / "saved").exists() else "nothing"

    assert place.believe(read) == "1"
    with pytest.raises(FileNotFoundError):
        place.believe((place.folder / "none").read_text)
    assert SyncedFolder(tmp_path / "none", "s3://copy/x").believe(lambda: 1) == 1


def test_no_bucket(server: Popen[str], one: SyncedFolder, tmp_path: Path) -> None:
    write(one, "a")
    with pytest.raises(OSError, match="does not exist") as failed:
        replace(one, copy="s3://none/x").push("a")
    assert "Request ID" not in reason_of(failed.value)
    with pytest.raises(InputError, match=r"ftp://x: is no bucket \(.*\); give s3://BUCKET/FOLDER or"):
        SyncedFolder(tmp_path, "ftp://x/y").exists("a")


def test_names_that_lead_out_are_not_fetched(server: Popen[str], other: SyncedFolder) -> None:
    key = f"{str(other).removeprefix('s3://shelf/')}/a/../../outside"
    asked = urllib.request.Request(f"{os.environ['AWS_ENDPOINT_URL']}/shelf/{key}", data=b"x", method="PUT")
    urllib.request.urlopen(asked).close()
    write(other, "b")
    other.push("b")
    (other.folder / "b").unlink()
    other.fetch_all(leave_out=(), last="")
    assert files(other) == ["b"]
    assert not (other.folder.parent / "outside").exists()
