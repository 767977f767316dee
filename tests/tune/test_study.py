"""The study on disk, on real SQLite."""

import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from search_spaces import InputError
from tune.study import SearchStudy


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture
def study(url: str) -> SearchStudy:
    return SearchStudy.create(url, "s", maximize=True)


def begin(study: SearchStudy, lr: float = 0.1) -> int:
    distributions = {"mlp.lr": FloatDistribution(0, 1)}
    return study.begin("mlp", {"lr": lr}, seed=5, params={"mlp.lr": lr}, distributions=distributions).number


def figures(accuracy: float) -> dict[str, float]:
    return {"accuracy": accuracy, "seconds": 1.0}


def test_what_is_written_is_read_back_by_another_process(study: SearchStudy, url: str) -> None:
    for number, state in enumerate(("complete", "pruned", "failed", "running")):
        assert begin(study, lr=number / 10) == number
        study.report(number, 1, figures(0.5), 0.5)
        study.report(number, 2, figures(0.4), 0.5)
        if state != "running":
            study.end(number, state, "why" if state == "failed" else "")  # type: ignore[arg-type]
    again = SearchStudy.load(url, "s")
    assert again.records == study.records
    assert [record.state for record in again.records] == ["complete", "pruned", "failed", "running"]
    assert again.records[0].epochs == [{"epoch": 1, **figures(0.5)}, {"epoch": 2, **figures(0.4)}]
    assert again.records[0].values == {1: 0.5, 2: 0.5}
    assert again.records[2].note == "why"


def test_states_are_what_optuna_calls_them(study: SearchStudy, url: str) -> None:
    for state in ("complete", "pruned", "failed"):
        number = begin(study)
        study.report(number, 1, figures(0.7), 0.7)
        study.end(number, state)  # type: ignore[arg-type]
    begin(study)
    trials = optuna.load_study(study_name="s", storage=url).trials
    assert [t.state for t in trials] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING,
    ]  # fmt: skip
    assert trials[0].value == trials[1].value == 0.7
    assert trials[0].params == {"mlp.lr": 0.1}
    assert trials[1].intermediate_values == {1: 0.7}


def test_an_epoch_that_is_known_is_not_counted_twice(study: SearchStudy, url: str) -> None:
    number = begin(study)
    study.report(number, 1, figures(0.5), 0.5)
    study.report(number, 1, figures(0.9), 0.9)
    assert study.records[0].epochs == SearchStudy.load(url, "s").records[0].epochs == [{"epoch": 1, **figures(0.5)}]


def test_another_attempt_is_counted(study: SearchStudy, url: str) -> None:
    number = begin(study)
    study.again(number)
    assert SearchStudy.load(url, "s").records[0].attempts == 2


def test_a_trial_stopped_before_its_first_epoch_is_pruned_without_a_value(study: SearchStudy, url: str) -> None:
    study.end(begin(study), "pruned", "the time budget was used up")
    assert SearchStudy.load(url, "s").records[0].value is None


def test_a_study_of_this_name_is_not_begun_twice(study: SearchStudy, url: str) -> None:
    with pytest.raises(InputError, match="has a study 's' already; choose another --name"):
        SearchStudy.create(url, "s", maximize=True)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////nowhere/at/all.db", "mysql://x"])
def test_a_storage_that_cannot_be_used_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(InputError, match="give an Optuna storage URL") as error:
        SearchStudy.create(url, "s", maximize=True)
    assert "\n" not in str(error.value)


def test_a_study_that_is_not_there_is_refused(study: SearchStudy, url: str) -> None:
    with pytest.raises(InputError, match="has no study 'other'"):
        SearchStudy.load(url, "other")


def test_the_time_used_is_kept(study: SearchStudy, url: str) -> None:
    study.note_seconds(12.5, spared=2.5)
    again = SearchStudy.load(url, "s")
    assert (again.seconds, again.spared_seconds) == (12.5, 2.5)


def test_readers_do_not_lock_out_the_search_and_closed_it_is_one_file(
    study: SearchStudy, url: str, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "study.db") as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM trials").fetchone() == (0,)
        begin(study)
        study.report(0, 1, figures(0.5), 0.5)
        study.end(0, "complete")
    reader.close()
    study.close()
    assert [file.name for file in tmp_path.iterdir()] == ["study.db"]
    assert SearchStudy.load(url, "s").records[0].state == "complete"
