"""`toprung list` and `toprung show`."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tune.cli import main
from tune.experiment import Experiment


def test_experiments_are_listed_with_their_state_and_result(
    searched: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second", "third"):
        shutil.copytree(searched.folder, tmp_path / name)
    (tmp_path / "second" / "report.json").unlink()
    (tmp_path / "notes").mkdir()
    with FileLock(tmp_path / "third" / ".lock"):
        assert main(["list", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    lines = {words[0]: words for line in out.splitlines() if (words := line.split())}
    accuracy = searched.read("report.json")["recipes"]["knn"]["test"]["accuracy"]["mean"]
    assert lines["first"][1:4] == ["finished", "digits", "knn"]
    assert f"{accuracy:.4f}" in lines["first"]
    assert lines["second"][1:4] == ["stopped", "digits", "\N{EN DASH}"]
    assert lines["third"][1] == "running"
    assert "notes" not in lines


def test_where_no_experiment_is_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", str(tmp_path)]) == 2
    assert main(["list", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"toprung: {tmp_path}: no experiment in it; give the --out of a search",
        f"toprung: {tmp_path / 'none'}: there is no such folder; give one of experiments, such as results",
    ]


def test_trials_are_shown_and_one_with_its_epochs(searched: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(searched.folder)]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["1", "mlp", "complete", "1", "0.9", "0.1"] in shown
    assert main(["show", str(searched.folder), "--trial", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("trial 1: mlp, complete\n")
    lines = [line.split() for line in out.splitlines()]
    assert ["optimizer", "adamw"] in lines
    assert ["1", "0.9", "0.1"] in lines
    assert main(["show", str(searched.folder), "--trial", "7"]) == 2
    assert "--trial 7: the experiment has trials 0 to" in capsys.readouterr().err
