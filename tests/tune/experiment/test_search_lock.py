"""Machines that search in one place of a bucket; folders stand for the disks and for the bucket."""

import json
import time
from functools import partial
from pathlib import Path

import pytest

from search_spaces import InputError
from trainables.storage.synced_folder import SyncedFolder
from tune.experiment import search_lock
from tune.experiment.search_lock import LEASE

leased = partial(search_lock.leased, heartbeat_s=0.05, lost_after_s=1.0)


@pytest.fixture
def machines(tmp_path: Path) -> tuple[SyncedFolder, SyncedFolder]:
    for name in ("one", "two", "bucket"):
        (tmp_path / name).mkdir()
    one, two = (SyncedFolder(tmp_path / name, str(tmp_path / "bucket"), patience=0.0) for name in ("one", "two"))
    return one, two


def held(place: SyncedFolder) -> dict[str, object]:
    assert place.copy
    found: dict[str, object] = json.loads((Path(place.copy) / LEASE).read_text())
    return found


def test_who_comes_later_is_refused_until_it_is_given_back(machines: tuple[SyncedFolder, SyncedFolder]) -> None:
    one, two = machines
    with leased(one) as taken:
        with pytest.raises(InputError, match=r"is being searched by process \d+ of .+; wait for it, or stop it"):
            leased(two).__enter__()
        assert taken() is None
    assert not two.exists(LEASE)
    with leased(two) as taken:
        assert taken() is None


def test_one_that_says_nothing_any_more_is_taken_for_lost(machines: tuple[SyncedFolder, SyncedFolder]) -> None:
    one, two = machines
    (one.folder / LEASE).write_text(json.dumps({"writer": "w", "host": "h", "process": 1, "beats": 7}))
    one.push(LEASE)
    with leased(two) as taken:
        assert held(two)["beats"] != 7
        assert taken() is None


def test_one_that_was_cut_off_learns_that_another_has_gone_on(machines: tuple[SyncedFolder, SyncedFolder]) -> None:
    one, two = machines
    with leased(one) as taken:
        (two.folder / LEASE).write_text(json.dumps({"writer": "w", "host": "two", "process": 8, "beats": 1}))
        end = time.monotonic() + 10
        while taken() is None:
            two.push(LEASE)  # both may write at the same moment; the other goes on, too
            assert time.monotonic() < end
            time.sleep(0.02)
        assert "is being searched by process 8 of two" in str(taken())
    assert held(two)["writer"] == "w", "it is not given back by who has it no more"


def test_a_place_out_of_reach_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "here").mkdir()
    with (
        pytest.raises(InputError, match="cannot be written: "),
        leased(SyncedFolder(tmp_path / "here", str(tmp_path / "file" / "inside"), patience=0.0)),
    ):
        pass
