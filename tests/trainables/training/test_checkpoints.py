import json
from pathlib import Path

import pytest
import torch

from search_spaces.mlp import MLP
from trainables.data import TrainData
from trainables.storage.synced_folder import SyncedFolder
from trainables.training.checkpoints import Checkpoints
from trainables.training.iterate import EpochResult, run

OF = {"recipe": "mlp", "config": {"width": 32}, "seed": 0}


@pytest.fixture(scope="module")
def epochs(digits: TrainData) -> list[EpochResult]:
    return list(run("mlp", MLP(width=32), digits, epochs=4, seed=0))


def save(checkpoints: Checkpoints, epochs: list[EpochResult], until: int, best: int) -> None:
    for n in range(1, until + 1):
        checkpoints.save(epochs[n - 1], [e.figures for e in epochs[:n]], end="", best=min(best, n))


def test_the_last_and_the_best_epoch_are_kept_and_no_other(tmp_path: Path, epochs: list[EpochResult]) -> None:
    save(Checkpoints(SyncedFolder(tmp_path), "01", OF), epochs, until=4, best=2)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["01-0002", "01-0004"]
    assert sorted(f.name for f in (tmp_path / "01-0004").iterdir()) == ["history.json", "model.safetensors", "state.pt"]


def test_the_last_whole_epoch_of_any_attempt_is_loaded(tmp_path: Path, epochs: list[EpochResult]) -> None:
    save(Checkpoints(SyncedFolder(tmp_path), "01", OF), epochs, until=2, best=1)
    Checkpoints(SyncedFolder(tmp_path), "02", OF).save(
        epochs[2], [e.figures for e in epochs[:3]], end="complete", best=1
    )
    loaded = Checkpoints(SyncedFolder(tmp_path), "03", OF).load()
    assert loaded is not None
    assert loaded.state["epoch"] == 3
    assert loaded.end == "complete"
    assert len(loaded.history) == 3


def test_a_half_written_epoch_is_not_taken_for_whole(tmp_path: Path, epochs: list[EpochResult]) -> None:
    checkpoints = Checkpoints(SyncedFolder(tmp_path), "01", OF)
    save(checkpoints, epochs, until=1, best=1)
    torn = tmp_path / ".01-0002"
    torn.mkdir()
    (torn / "state.pt").write_bytes(b"half")
    loaded = checkpoints.load()
    assert loaded is not None
    assert loaded.state["epoch"] == 1
    checkpoints.save(epochs[1], [e.figures for e in epochs[:2]], end="", best=2)  # the torn one is no hindrance
    assert checkpoints.load().state["epoch"] == 2  # type: ignore[union-attr]


def test_there_may_be_no_checkpoint(tmp_path: Path) -> None:
    assert Checkpoints(SyncedFolder(tmp_path / "none"), "01", OF).load() is None


def test_a_pickle_with_foreign_objects_is_not_loaded(tmp_path: Path, epochs: list[EpochResult]) -> None:
    checkpoints = Checkpoints(SyncedFolder(tmp_path), "01", OF)
    save(checkpoints, epochs, until=1, best=1)
    torch.save({"epoch": 1, "bad": Path("x")}, tmp_path / "01-0001" / "state.pt")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        checkpoints.load()


def test_the_history_is_plain_json(tmp_path: Path, epochs: list[EpochResult]) -> None:
    save(Checkpoints(SyncedFolder(tmp_path), "01", OF), epochs, until=1, best=1)
    saved = json.loads((tmp_path / "01-0001" / "history.json").read_text())
    assert saved["epochs"][0]["accuracy"] == epochs[0].figures["accuracy"]


def test_epochs_of_another_training_under_the_same_number_are_not_gone_on_with(
    tmp_path: Path, epochs: list[EpochResult]
) -> None:
    save(Checkpoints(SyncedFolder(tmp_path), "01", {**OF, "seed": 1}), epochs, until=4, best=4)
    mine = Checkpoints(SyncedFolder(tmp_path), "02", OF)
    assert mine.load() is None
    save(mine, epochs, until=2, best=2)
    loaded = mine.load()
    assert loaded is not None
    assert loaded.state["epoch"] == 2


@pytest.mark.parametrize(("older", "newer"), [("01.02", "02.01"), ("01.99", "01.100")])
def test_an_attempt_that_was_only_cut_off_deletes_nothing_of_its_successor(
    tmp_path: Path, epochs: list[EpochResult], older: str, newer: str
) -> None:
    save(Checkpoints(SyncedFolder(tmp_path), newer, OF), epochs, until=2, best=2)
    save(Checkpoints(SyncedFolder(tmp_path), older, OF), epochs, until=4, best=4)
    assert (tmp_path / f"{newer}-0002").is_dir()
    save(Checkpoints(SyncedFolder(tmp_path), newer, OF), epochs, until=4, best=4)
    assert [path.name for path in tmp_path.glob("*-*")] == [f"{newer}-0004"], "but it does of what came before it"
