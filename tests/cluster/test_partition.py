"""A worker that is cut off from the others, but not from the storage, is given up, goes on writing, and comes back."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import Lab, missing
from tests.cluster.ray_hosts import RayHosts
from tests.running_search import RunningSearch

ROOT = Path(__file__).parent.parent.parent
EPOCHS = 20
SEARCH = (
    f"--data digits --recipes plain_cnn --set plain_cnn.batch_size=32 --trials 4 "
    f"--max-epochs {EPOCHS} --grace-period {EPOCHS} --final-seeds 1"
)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[RayHosts]:
    """A head and two workers."""
    if reason := missing():
        pytest.skip(reason)
    with Lab(tmp_path / "lab", ["head", "one", "two"], checkout=ROOT, everywhere=True) as lab:
        hosts = RayHosts(lab, "x")
        hosts.start_head()
        for host in ("one", "two"):
            hosts.join(host)
        yield hosts


def test_what_is_cut_off_and_goes_on_writes_over_nothing_of_its_successor(hosts: RayHosts) -> None:
    """Ray asks for one epoch at a time, so it is held in the one that it was asked for before its cable was pulled."""
    with hosts.search(SEARCH) as search:
        number = stop_in_an_epoch(hosts, "one", search)
        checkpoints = hosts.folder / "trials" / f"{number:05d}" / "checkpoints"
        reached = last_epoch(checkpoints)
        hosts.lab.cut("one")
        search.until(
            "trial that goes on elsewhere",
            lambda found: found[number].attempts == 2 and len(found[number].epochs) >= reached + 3,
        )
        hosts.send_trial("two", "STOP")
        before = digests(checkpoints)
        assert last_epoch(checkpoints) >= reached + 3
        hosts.send_trial("one", "CONT")
        search.until("epoch of the process that is cut off", lambda _: set(digests(checkpoints)) > set(before))
        hosts.lab.plug("one")
        hosts.join("one")  # and nothing is left there that writes
        after = digests(checkpoints)
        assert last_epoch(checkpoints) == max(map(epoch_of, before))
        hosts.send_trial("two", "CONT")
        assert search.end() == 0, search.said
    successor = [name for name in before if name.startswith("01.02-")]
    assert {name: after.get(name) for name in successor} == {name: before[name] for name in successor}
    assert {name.partition("-")[::2] for name in set(after) - set(before)} == {("01.01", f"{reached + 1:04d}")}
    found = hosts.records()
    assert [record.state for record in found] == ["complete"] * 4
    assert all([epoch["epoch"] for epoch in record.epochs] == list(range(1, EPOCHS + 1)) for record in found)
    assert [record.number for record in found if record.attempts > 1] == [number]


def stop_in_an_epoch(hosts: RayHosts, host: str, search: RunningSearch) -> int:
    """Stop the process that trains on one of two hosts before it has written the epoch it is in; returns its trial."""
    while True:
        before = search.until(
            "two trials that train", lambda found: len(found) == 2 and all(len(record.epochs) >= 2 for record in found)
        )
        assert hosts.send_trial(host, "STOP")
        found = search.until(  # the other's: meanwhile the driver hears of all that was written, and asks for more
            "three epochs more",
            lambda found: any(len(now.epochs) >= len(old.epochs) + 3 for now, old in zip(found, before, strict=False)),
        )
        number = min((0, 1), key=lambda number: len(found[number].epochs) - len(before[number].epochs))
        if last_epoch(hosts.folder / "trials" / f"{number:05d}" / "checkpoints") == len(found[number].epochs):
            return number
        hosts.send_trial(host, "CONT")


def digests(checkpoints: Path) -> dict[str, str]:
    """The whole epochs in a folder, and what is in them."""
    return {
        folder.name: hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.iterdir()))).hexdigest()
        for folder in checkpoints.glob("[0-9]*-[0-9]*")
    }


def last_epoch(checkpoints: Path) -> int:
    return max(map(epoch_of, digests(checkpoints)))


def epoch_of(name: str) -> int:
    return int(name.partition("-")[2])
