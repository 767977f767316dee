"""A study and its copy, on real SQLite."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from search_spaces import InputError
from trainables.storage.synced_folder import SyncedFolder
from tune.experiment.experiment import Experiment
from tune.experiment.study import SearchStudy
from tune.experiment.study_backup import StudyBackup, backed_up
from tune.experiment.trial_record import TrialRecord
from tune.settings.settings import make

CONSOLE = Console(quiet=True)


@pytest.fixture
def backup(tmp_path: Path) -> StudyBackup:
    (tmp_path / "shared").mkdir()
    return StudyBackup(tmp_path / "head.db", SyncedFolder(tmp_path / "shared"), look_every_s=0.01)


@pytest.fixture
def study(backup: StudyBackup) -> Iterator[SearchStudy]:
    with closing(SearchStudy.create(backup.url, "s", maximize=True)) as study:
        yield study


def trial(study: SearchStudy, end: bool = True) -> None:
    record = study.begin("knn", {"neighbors": 3}, seed=1, params={}, distributions={})
    study.report(record.number, 1, {"accuracy": 0.5}, 0.5)
    if end:
        study.end(record.number, "complete")


def copied(backup: StudyBackup) -> list[TrialRecord]:
    """The records of the copy, read from a copy of its own: SQLite refuses a file that is replaced while it is open."""
    shutil.copyfile(backup.copied_to, own := backup.copied_to.with_name("own.db"))
    with closing(SearchStudy.load(f"sqlite:///{own}", "s")) as study:
        return study.records


def test_the_copy_is_one_whole_file_of_what_was_written_so_far(backup: StudyBackup, study: SearchStudy) -> None:
    trial(study)
    trial(study, end=False)
    backup.copy()
    assert [path.name for path in backup.copied_to.parent.iterdir()] == ["study.db"]
    assert backup.copied_to.read_bytes()[18:20] == b"\1\1", "written ahead, it would need more than one file"
    trial(study)
    assert copied(backup) == study.records[:2]


def test_on_another_head_it_goes_on_from_the_copy(backup: StudyBackup, study: SearchStudy, tmp_path: Path) -> None:
    trial(study)
    backup.copy()
    trial(study)  # is lost
    other = StudyBackup(tmp_path / "other.db", backup.place)
    other.fetch("s")
    with closing(SearchStudy.load(other.url, "s")) as found:
        assert found.records == study.records[:1]
        found.begin_process()
        trial(found, end=False)
        assert found.attempt(1) == "02.01" != study.attempt(1)
    other.copy()
    backup.fetch("s")  # the first head is back
    with closing(SearchStudy.load(backup.url, "s")) as back:
        assert [record.state for record in back.records] == ["complete", "running"]


def test_of_two_processes_of_one_number_the_one_that_others_saw_counts(
    backup: StudyBackup, study: SearchStudy, tmp_path: Path
) -> None:
    backup.copy()
    cut_off, other = (StudyBackup(tmp_path / f"{name}.db", backup.place) for name in ("cut off", "other"))
    for each in (cut_off, other):
        each.fetch("s")
        with closing(SearchStudy.load(each.url, "s")) as found:
            found.begin_process()
            assert found.process == 2
            trial(found, end=each is other)
    other.copy()
    cut_off.fetch("s")
    with closing(SearchStudy.load(cut_off.url, "s")) as found:
        assert [record.state for record in found.records] == ["complete"]


def test_on_the_same_head_it_goes_on_from_what_was_written_last(backup: StudyBackup, study: SearchStudy) -> None:
    backup.copy()
    trial(study)
    backup.fetch("s")
    with closing(SearchStudy.load(backup.url, "s")) as found:
        assert found.records == study.records
        found.begin_process()
    backup.fetch("s")  # and was killed before its first copy
    with closing(SearchStudy.load(backup.url, "s")) as found:
        assert (found.process, len(found.records)) == (2, 1)


def test_a_trial_that_has_ended_is_soon_in_the_copy(backup: StudyBackup, study: SearchStudy) -> None:
    with backed_up(backup, study, CONSOLE):
        trial(study)
        end = time.monotonic() + 10
        while not (backup.copied_to.exists() and copied(backup) == study.records):
            assert time.monotonic() < end
    trial(study)
    assert len(copied(backup)) == 1


def test_while_no_trial_ends_it_is_copied_from_time_to_time(backup: StudyBackup, study: SearchStudy) -> None:
    with backed_up(replace(backup, copy_every_s=0.1), study, CONSOLE):
        for number in range(3):
            study.begin("knn", {"neighbors": number}, seed=0, params={}, distributions={})
            end = time.monotonic() + 10
            while not (backup.copied_to.exists() and copied(backup) == study.records):
                assert time.monotonic() < end


def test_a_storage_that_is_gone_for_a_while_loses_nothing(
    backup: StudyBackup, study: SearchStudy, caplog: pytest.LogCaptureFixture
) -> None:
    trial(study)
    backup.copy()
    away = backup.copied_to.parent.rename(backup.copied_to.parent.with_name("away"))
    with backed_up(backup, study, CONSOLE):
        trial(study)
        end = time.monotonic() + 10
        while "it is tried again" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.01)
        away.rename(backup.copied_to.parent)
        while copied(backup) != study.records:
            assert time.monotonic() < end


def test_who_was_taken_over_writes_and_copies_nothing(backup: StudyBackup, study: SearchStudy) -> None:
    backup.copy()
    error = InputError("another searches there")
    with backed_up(backup, study, CONSOLE):
        study.taken = lambda: error
        with pytest.raises(InputError, match="another searches there"):
            trial(study)
        time.sleep(0.1)
    study.taken = lambda: None
    trial(study)
    assert copied(backup) == []


def test_what_was_not_copied_in_the_end_is_said(
    backup: StudyBackup, study: SearchStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    backup.copied_to.parent.rmdir()
    with backed_up(backup, study, Console(width=1000)):
        pass
    assert f"it is in {backup.file} of this machine, from which --resume goes on" in capsys.readouterr().out
    with pytest.raises((OSError, sqlite3.Error)):
        backup.copy()


def test_only_a_cluster_needs_one(tmp_path: Path) -> None:
    given = {"out": str(tmp_path), "cache": str(tmp_path / "cache"), "name": "e"}

    def backup_of(**more: str) -> StudyBackup | None:
        return StudyBackup.of(Experiment.at(make({**given, **more})))

    assert backup_of() is None
    assert backup_of(address="auto", storage="postgresql://u@h/d") is None
    backup = backup_of(address="auto")
    assert backup is not None
    assert backup.copied_to == tmp_path / "e" / "study.db"
    assert backup.file.parent == tmp_path / "cache" / "studies"
