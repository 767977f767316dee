"""A search with its results in a bucket: its machine is lost with its disk, and another machine resumes it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.buckets import make_bucket, s3_server
from tests.running_search import RUN, RunningSearch, decisions, records_of
from trainables.storage.synced_folder import SyncedFolder
from tune.cli import main
from tune.experiment.trial_record import TrialRecord

pytestmark = pytest.mark.timeout(900)  # searches as processes of their own, beside others


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server():
        yield make_bucket("results")


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the tests a cache of their own, which shares nothing with the machines of the search."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "laptop"))
    monkeypatch.delenv("TOPRUNG_OUT", raising=False)
    return tmp_path


def start(url: str, machine: Path, *arguments: str) -> RunningSearch:
    """A search with results at `url`, on a machine with a disk of its own."""
    command = [*RUN, *arguments]
    return RunningSearch(command, lambda: records_of(url), env={**os.environ, "XDG_CACHE_HOME": str(machine)})


def test_a_machine_is_lost_with_its_disk_and_another_goes_on(
    bucket: str, laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, there = f"{bucket}/team/lost", SyncedFolder(laptop / "none", f"{bucket}/team/lost")
    search = [
        "--data", "digits", "--recipes", "mlp,knn", "--trials", "6", "--max-epochs", "12", "--grace-period", "2",
        "--reduction-factor", "2", "--concurrent", "1", "--final-seeds", "1",
    ]  # fmt: skip
    assert main(["search", *search, "--out", str(laptop), "--name", "undisturbed"]) == 0
    search += ["--out", f"{bucket}/team/", "--final-train", "train+val"]
    with start(url, laptop / "one", *search, "--name", "lost") as first:

        def one_has_ended_and_one_is_in_the_middle(found: list[TrialRecord]) -> bool:
            ended = {record.number for record in found if record.state != "running"}
            begun = {int(name.split("/")[1]) for name in listed(there) if name.endswith("history.json")}
            return bool(ended and begun - ended)

        before = first.until("trial that has ended, and one in the middle", one_has_ended_and_one_is_in_the_middle)
        assert main(["search", "--resume", url]) == 2
        assert f"{url} is being searched by process {first.process.pid} of " in capsys.readouterr().err
        first.kill()
    shutil.rmtree(laptop / "one")
    with start(url, laptop / "two", "--resume", f"{url}/") as second:
        assert second.end() == 0, second.said
        assert f"and in: {url}/report/index.html" in second.output
    found = records_of(url)
    assert decisions(found) == decisions(records_of(laptop / "undisturbed"))
    for record in before:
        if record.state != "running":
            assert found[record.number] == record
    names = {info.partition("/")[0] for info in listed(there)}
    assert names >= {
        "settings.yaml", "study.db", "report.json", "report", "best", "finals", "refits", "trials.parquet", "logs",
    }  # fmt: skip
    assert {"samples.npz", "best_configs.yaml", "report/leaderboard.png", "report/curves.png"} <= set(listed(there))
    kept = {name.split("/")[1] for name in listed(there) if name.startswith("trials/")}
    assert len(kept) == 2, "checkpoints of the best of each recipe, and of no other"
    assert not list((laptop / "two").glob("toprung/experiments/*/trials/*/checkpoints/*-*")), "they are in the bucket"

    image = laptop / "digit.png"
    Image.fromarray((load_digits().images[0] * 255 / 16).astype(np.uint8)).save(image)
    for model in (url, f"{url}/best/knn"):
        capsys.readouterr()
        assert main(["predict", model, str(image), "--format", "csv"]) == 0
        assert ",0," in capsys.readouterr().out
    assert main(["report", url]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page.is_relative_to(laptop / "laptop")
    assert page.is_file()

    assert main(["search", *search, "--name", "lost"]) == 2
    assert f"{url} exists; choose another name, or go on with it: --resume {url}" in capsys.readouterr().err


def test_what_is_no_experiment_or_cannot_be_written_is_refused(
    bucket: str, laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "--resume", f"{bucket}/none"]) == 2
    assert f"no experiment in {bucket}/none: it has no settings.yaml" in capsys.readouterr().err
    assert main(["search", "--recipes", "knn", "--out", "s3://nobody", "--name", "x"]) == 2
    said = capsys.readouterr().err
    assert "--out s3://nobody/x: cannot be written: " in said
    assert len(said.splitlines()) == 1
    assert not list((laptop / "laptop" / "toprung" / "experiments").glob("*"))


def listed(place: SyncedFolder) -> list[str]:
    return [place._name(info) for info in place._files()]
