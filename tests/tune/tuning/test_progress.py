"""The screen that shows a search."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tune.experiment.study import SearchStudy
from tune.experiment.trial_record import State, TrialRecord
from tune.settings.settings import make
from tune.terminal.console import console_of
from tune.tuning.progress import Progress, seconds_left


def record(number: int, recipe: str, state: State, *seconds: float) -> TrialRecord:
    epochs = [{"epoch": epoch, "seconds": each} for epoch, each in enumerate(seconds, start=1)]
    return TrialRecord(
        number=number, recipe=recipe, config={}, seed=0, params={}, distributions={}, state=state, epochs=epochs
    )


def test_what_is_shown_in_a_terminal_and_elsewhere(tmp_path: Path) -> None:
    study = SearchStudy.create(f"sqlite:///{tmp_path / 'study.db'}", "s", maximize=True)
    shown: list[str] = []
    study.begin("knn", {"neighbors": 3}, seed=0, params={}, distributions={})
    study.report(0, 1, {"accuracy": 0.5, "seconds": 4.0}, 0.5)
    study.end(0, "complete")
    for terminal, recipes in ((False, "knn,mlp"), (False, "knn"), (True, "knn")):
        console = Console(file=io.StringIO(), width=120, force_terminal=terminal)
        with Progress(console, make({"recipes": recipes, "trials": 16}), study, lambda: 61.0, concurrent=2):
            pass
        shown.append(console.file.getvalue())  # type: ignore[attr-defined]
    counts = "0 running, 0 pruned, 1 complete, 0 failed; best val accuracy: knn 0.5000\n"
    assert shown[:2] == [2 * f"1:01: {counts}", 2 * f"1:01, about 0:34 left with finals: {counts}"]
    screen = shown[2]
    for text in ("1/16", "1:01", "about 0:34 left with finals", "best val accuracy", "0.5000"):
        assert text in screen


@pytest.mark.parametrize("progress", ["auto", "bar", "plain", "none"])
def test_how_it_is_shown_can_be_said(progress: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = make({"recipes": "knn", "progress": progress})
    study = SearchStudy.create(f"sqlite:///{tmp_path / 'study.db'}", "s", maximize=True)
    with Progress(console_of(settings.progress), settings, study, lambda: 61.0, concurrent=2):
        pass
    said = capsys.readouterr().out
    assert ("\x1b" in said) == (progress == "bar")
    assert ("1:01: 0 running" in said) == (progress != "none")
    assert said or progress == "none"


def test_the_time_left_goes_by_recipe() -> None:
    settings = make({"recipes": "knn,mlp", "trials": 8})
    assert seconds_left([record(0, "knn", "complete", 1.0)], settings) is None
    records = [
        record(0, "knn", "complete", 1.0),
        record(1, "mlp", "complete", 10.0, 10.0),
        record(2, "knn", "pruned", 3.0),
        record(3, "mlp", "running", 5.0),
    ]
    finals = 1 * 3.0 + 3 * 20.0 + 3 * 20.0  # kNN is deterministic; the last are of the winner's default point
    assert seconds_left(records, settings) == pytest.approx(2 * 2.0 + 2 * 20.0 + 15.0 + finals)
    longer = [*records, record(4, "mlp", "pruned", 2.0), record(5, "mlp", "running", 12.0)]
    assert seconds_left(longer, settings) == pytest.approx(2 * 2.0 + (11.0 - 5.0) + (20.0 - 12.0) + finals)
