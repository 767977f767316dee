"""`toprung list` and `toprung show`."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.tune.reporting.stories import Story
from tune.cli import main
from tune.experiment.experiment import Experiment
from tune.experiment.folder import ExperimentFolder
from tune.reporting.report import rebuild


def test_experiments_are_listed_with_their_state_and_result(
    searched: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second", "third", "fifth"):
        shutil.copytree(searched.folder, tmp_path / name)
    (tmp_path / "second" / "report.json").unlink()
    story = Story.begin(tmp_path, name="fourth", on_disk=True, data="digits")
    story.trial("mlp", [0.5], "running")
    story.study.close()
    rebuild(story.experiment)
    summary = searched.read("report.json")
    ExperimentFolder(tmp_path / "fifth").write("report.json", {**summary, "untested": ["mlp"]})
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
    assert lines["fifth"][1:4] == ["stopped", "digits", "knn"], "whose finals are not all trained"
    assert lines["fourth"][1:6] == ["stopped", "digits", "mlp", "so", "far"]
    assert "notes" not in lines


def test_where_no_experiment_is_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", str(tmp_path)]) == 2
    assert main(["list", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"toprung: {tmp_path}: no experiment in it; give the --out of a search",
        f"toprung: {tmp_path / 'none'}: there is no such folder yet; toprung search makes one",
    ]


def test_a_trial_that_no_process_trains_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story.begin(tmp_path, on_disk=True)
    story.trial("mlp", [0.5], "running")
    story.study.close()
    for arguments in ([], ["--trial", "0"]):
        assert main(["show", str(story.experiment), *arguments]) == 0
        assert "stopped" in capsys.readouterr().out
        with FileLock(story.experiment.folder / ".lock"):
            assert main(["show", str(story.experiment), *arguments]) == 0
        assert "running" in capsys.readouterr().out


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
