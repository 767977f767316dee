"""A worker that loses the network but not the storage: Ray gives it up, it continues to write, and comes back."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import Lab, require_lab
from tests.cluster.ray_hosts import RayHosts
from tests.running_search import RunningSearch
from tune.experiment.trial_record import TrialRecord

ROOT = Path(__file__).parent.parent.parent
EPOCHS = 12
SEARCH = (
    f"--data digits --recipes plain_cnn --set plain_cnn.batch_size=32 --set plain_cnn.width=16 --trials 3 "
    f"--max-epochs {EPOCHS} --grace-period {EPOCHS} --final-seeds 1"
)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[RayHosts]:
    """A head and two workers."""
    require_lab()
    with Lab(tmp_path / "lab", ["head", "one", "two"], checkout=ROOT, everywhere=True) as lab:
        hosts = RayHosts(lab, "x")
        hosts.start("one", "two")
        yield hosts


@pytest.mark.timeout(900)
def test_what_is_cut_off_and_goes_on_writes_over_nothing_of_its_successor(hosts: RayHosts) -> None:
    """Ray requests one epoch at a time, so the trial is stopped in an epoch requested before the cable was pulled."""
    with hosts.search(SEARCH) as search:
        number = stop_in_an_epoch(hosts, "one", search)
        checkpoints = checkpoints_of(hosts, number)
        reached = last_epoch(checkpoints)
        hosts.lab.cut("one")
        search.until(
            "trial that goes on elsewhere",
            lambda found: found[number].attempts == 2 and len(found[number].epochs) >= reached + 2,
        )
        assert hosts.send_trial("two", "STOP")
        before, last = digests(checkpoints), last_epoch(checkpoints)
        assert hosts.send_trial("one", "CONT")
        search.until("epoch of the process that is cut off", lambda _: bool(names(checkpoints) - set(before)))
        hosts.lab.plug("one")
        hosts.join("one")  # which ends the process that was cut off
        after = digests(checkpoints)
        assert last_epoch(checkpoints) == last >= reached + 2, "a third process would go on from there"
        assert hosts.send_trial("two", "CONT")
        assert search.end() == 0, search.said
    successors = {name: digest for name, digest in before.items() if name.startswith("01.02-")}
    assert {name: after.get(name) for name in successors} == successors
    assert set(after) - set(before) == {f"01.01-{reached + 1:04d}"}
    found = hosts.records()
    assert [record.state for record in found] == ["complete"] * 3
    assert all([epoch["epoch"] for epoch in record.epochs] == list(range(1, EPOCHS + 1)) for record in found)
    assert [record.number for record in found if record.attempts > 1] == [number]


def stop_in_an_epoch(hosts: RayHosts, host: str, search: RunningSearch) -> int:
    """Stop training on one of two hosts before it has written its current epoch; return its trial."""
    while True:
        number, told = stop(hosts, host, search)
        if last_epoch(checkpoints_of(hosts, number)) == told:
            return number
        hosts.send_trial(host, "CONT")


def stop(hosts: RayHosts, host: str, search: RunningSearch) -> tuple[int, int]:
    """Stop training on one of two hosts; return its trial and the trial's epochs that the driver knows."""
    before = search.until(
        "two trials that train", lambda found: len(found) == 2 and all(len(record.epochs) >= 2 for record in found)
    )
    assert hosts.send_trial(host, "STOP")

    def gained(found: list[TrialRecord]) -> list[int]:
        return [len(now.epochs) - len(old.epochs) for now, old in zip(found[:2], before, strict=True)]

    # by the other: meanwhile the driver learns of all written epochs and requests the next
    found = search.until("two epochs more", lambda found: max(gained(found)) >= 2)
    number = gained(found).index(min(gained(found)))
    return number, len(found[number].epochs)


def checkpoints_of(hosts: RayHosts, number: int) -> Path:
    return hosts.folder / "trials" / f"{number:05d}" / "checkpoints"


def names(checkpoints: Path) -> set[str]:
    """Return the names of the complete epochs in a folder."""
    return {folder.name for folder in checkpoints.glob("[0-9]*-[0-9]*")}


def digests(checkpoints: Path) -> dict[str, str]:
    """Return a digest of each epoch's files; nothing may write meanwhile."""
    return {
        name: hashlib.sha256(b"".join(f.read_bytes() for f in sorted((checkpoints / name).iterdir()))).hexdigest()
        for name in names(checkpoints)
    }


def last_epoch(checkpoints: Path) -> int:
    return max(int(name.partition("-")[2]) for name in names(checkpoints))
