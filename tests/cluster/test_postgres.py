"""A search with its study in a shared PostgreSQL database."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.postgres import PASSWORD, Postgres
from tune.cli import main
from tune.experiment.study import SearchStudy
from tune.experiment.trial_record import TrialRecord

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(900)]


def records(postgres: Postgres, name: str) -> list[TrialRecord]:
    study = SearchStudy.load(postgres.url, name)
    study.close()
    return study.records


def test_a_search_is_resumed_and_reported_from_a_database_that_others_use(
    postgres: Postgres, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [
        "search", "--data", "digits", "--limit", "100", "--recipes", "knn", "--final-seeds", "1",
        "--cache", str(cache), "--storage", postgres.url,
    ]  # fmt: skip
    mine, other = tmp_path / "mine", tmp_path / "other"
    assert main([*common, "--out", str(mine), "--name", "mine", "--trials", "3"]) == 0
    before = records(postgres, "mine")
    assert [record.state for record in before] == ["complete"] * 3
    assert not list(mine.rglob("study.db"))
    assert yaml.safe_load((mine / "mine" / "settings.yaml").read_text())["storage"] == postgres.url

    capsys.readouterr()
    assert main([*common, "--out", str(other), "--name", "mine", "--trials", "2"]) == 2
    assert "has a study 'mine' already; choose another --name" in capsys.readouterr().err
    assert not other.exists()
    assert main([*common, "--out", str(other), "--name", "other", "--trials", "2"]) == 0
    assert records(postgres, "mine") == before

    assert main(["search", "--resume", str(mine / "mine"), "--trials", "5"]) == 0
    assert [record.state for record in records(postgres, "mine")] == ["complete"] * 5
    assert records(postgres, "mine")[:3] == before
    assert len(records(postgres, "other")) == 2
    page = mine / "mine" / "report" / "index.html"
    page.unlink()
    assert main(["report", str(mine / "mine")]) == 0
    assert page.is_file()
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


def test_what_cannot_be_begun_leaves_no_study_behind(
    postgres: Postgres, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = [
        "search", "--data", "digits", "--limit", "100", "--recipes", "knn", "--trials", "1", "--final-seeds", "1",
        "--cache", str(cache), "--storage", postgres.url, "--out", str(tmp_path), "--name", "again",
    ]  # fmt: skip

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tune.experiment.inputs.SearchInputs.write", full)
        with pytest.raises(OSError, match="no space"):
            main(common)
    assert not list(tmp_path.iterdir())
    assert main(common) == 0


def test_a_server_that_stays_away_ends_the_search_in_a_line_and_it_goes_on_later(
    postgres: Postgres, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report, gone = SearchStudy.report, []

    def switched_off(study: SearchStudy, number: int, *arguments: Any) -> None:
        if number == 1 and not gone:
            gone.append(True)
            study.patience = 0.5
            postgres.stop()
        report(study, number, *arguments)

    monkeypatch.setattr(SearchStudy, "report", switched_off)
    common = [
        "--data", "digits", "--limit", "100", "--recipes", "knn", "--trials", "3", "--final-seeds", "1",
        "--cache", str(cache), "--storage", postgres.url, "--out", str(tmp_path), "--name", "cut",
    ]  # fmt: skip
    try:
        assert main(["search", *common]) == 2
    finally:
        postgres.start()
    said = capsys.readouterr()
    assert "the storage of the study is gone: " in said.err
    assert "go on by --resume when it is back" in said.err
    assert "Traceback" not in said.out + said.err
    assert main(["search", "--resume", str(tmp_path / "cut")]) == 0
    assert [record.state for record in records(postgres, "cut")] == ["complete"] * 3
