"""The study, on real SQLite and on a real PostgreSQL."""

import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search_spaces import InputError
from tests.postgres import PASSWORD, Postgres
from tune.experiment import study_storage
from tune.experiment.study import SearchStudy

ROOT = Path(__file__).parents[3]


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return str(request.getfixturevalue("sqlite") if kind == "sqlite" else request.getfixturevalue("postgres").url)


@pytest.fixture
def study(url: str) -> Iterator[SearchStudy]:
    with closing(SearchStudy.create(url, "s", maximize=True)) as study:
        yield study


def begin(study: SearchStudy, lr: float = 0.1) -> int:
    distributions = {"mlp.lr": FloatDistribution(0, 1)}
    return study.begin("mlp", {"lr": lr}, seed=5, params={"mlp.lr": lr}, distributions=distributions).number


def read(url: str) -> SearchStudy:
    """The study as another process finds it; it is closed."""
    with closing(SearchStudy.load(url, "s")) as study:
        return study


def test_a_trial_that_diverged_is_known_as_such_by_its_record_and_by_the_note_of_older_versions(
    study: SearchStudy, url: str
) -> None:
    numbers = [begin(study) for _ in range(3)]
    study.end(numbers[0], "failed", "its loss is no number", diverged=True)
    study.end(numbers[1], "failed", "ValueError: diverged in epoch 1")
    study.end(numbers[2], "pruned", "the time budget was used up")
    assert [record.diverged for record in study.records] == [True, False, False]
    assert [record.diverged for record in read(url).records] == [True, False, False]
    older = begin(study)
    study.end(older, "failed", "diverged in epoch 2: train loss 1.0, val loss nan")
    assert read(url).records[older].diverged


def figures(accuracy: float) -> dict[str, float]:
    return {"accuracy": accuracy, "seconds": 1.0}


def test_what_is_written_is_read_back_by_another_process(study: SearchStudy, url: str) -> None:
    for number, state in enumerate(("complete", "pruned", "failed", "running")):
        assert begin(study, lr=number / 10) == number
        study.report(number, 1, figures(0.5), 0.5)
        study.report(number, 2, figures(0.4), 0.5)
        if state != "running":
            study.end(number, state, "why" if state == "failed" else "")  # type: ignore[arg-type]
    again = read(url)
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
    storage = RDBStorage(url)
    trials = optuna.load_study(study_name="s", storage=storage).trials
    storage.engine.dispose()
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
    assert study.records[0].epochs == read(url).records[0].epochs == [{"epoch": 1, **figures(0.5)}]


def test_another_attempt_is_counted(study: SearchStudy, url: str) -> None:
    number = begin(study)
    study.again(number)
    assert read(url).records[0].attempts == 2


def test_a_trial_stopped_before_its_first_epoch_is_pruned_without_a_value(study: SearchStudy, url: str) -> None:
    study.end(begin(study), "pruned", "the time budget was used up")
    assert read(url).records[0].value is None


def test_a_study_of_this_name_is_not_begun_twice(study: SearchStudy, url: str) -> None:
    with pytest.raises(InputError, match="has a study 's' already; choose another --name"):
        SearchStudy.create(url, "s", maximize=True)


def test_searches_that_share_a_storage_do_not_see_each_other(study: SearchStudy, url: str) -> None:
    with closing(SearchStudy.create(url, "other", maximize=False)) as other:
        assert [begin(each) for each in (study, other, other, study)] == [0, 0, 1, 1]
        other.report(0, 1, figures(0.1), 0.1)
        other.end(0, "complete")
        study.end(1, "failed", "why")
        other.note_seconds(5.0)
        for mine in (study, other):
            with closing(SearchStudy.load(url, "s" if mine is study else "other")) as again:
                assert (again.records, again.seconds) == (mine.records, mine.seconds)
        other.delete()
    with pytest.raises(InputError, match="has no study 'other'"):
        SearchStudy.load(url, "other")
    with closing(SearchStudy.load(url, "s")) as again:
        assert again.records == study.records


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
    with closing(SearchStudy.load(url, "s")) as again:
        assert (again.seconds, again.spared_seconds) == (12.5, 2.5)


def test_readers_do_not_lock_out_the_search_and_closed_it_is_one_file(sqlite: str, tmp_path: Path) -> None:
    study = SearchStudy.create(sqlite, "s", maximize=True)
    with sqlite3.connect(tmp_path / "study.db") as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM trials").fetchone() == (0,)
        begin(study)
        study.report(0, 1, figures(0.5), 0.5)
        study.end(0, "complete")
    reader.close()
    study.close()
    assert [file.name for file in tmp_path.iterdir()] == ["study.db"]
    assert read(sqlite).records[0].state == "complete"


# a server that others share


def search_once(url: str, name: str) -> None:
    with closing(SearchStudy.create(url, name, maximize=True)) as study:
        study.end(begin(study), "complete")


def test_searches_that_are_the_first_in_a_database_begin_at_the_same_time(postgres: Postgres) -> None:
    names = ["one", "two", "three"]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(partial(search_once, postgres.url), names))
    for name in names:
        with closing(SearchStudy.load(postgres.url, name)) as study:
            assert [record.state for record in study.records] == ["complete"]


def test_a_server_that_is_restarted_loses_nothing(postgres: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    """The server is back either some time after the next query fails, or before any query."""
    with closing(SearchStudy.create(postgres.url, "s", maximize=True)) as study:
        steps: list[Callable[[], object]] = [
            lambda: begin(study),
            lambda: study.report(0, 1, figures(0.5), 0.5),
            lambda: study.end(0, "complete", "a note"),
        ]
        for step in steps:
            postgres.stop()
            back = threading.Timer(0.3, postgres.start)
            back.start()
            step()
            back.join()
        assert caplog.text.count("is tried again") >= len(steps)
        caplog.clear()
        postgres.stop()
        postgres.start()
        study.end(begin(study), "failed", "why")
        assert not caplog.text, "the pool hands out dead connections"
    with closing(SearchStudy.load(postgres.url, "s")) as again:
        assert again.records == study.records
        assert [record.state for record in again.records] == ["complete", "failed"]


def test_what_was_written_before_the_server_was_gone_is_not_written_twice(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SearchStudy.create(postgres.url, "s", maximize=True)) as study:
        for name, act in (
            ("create_new_trial", lambda: begin(study)),
            ("set_trial_state_values", lambda: study.end(0, "complete")),
        ):
            write, answers = getattr(study._storage, name), iter([False])

            def unheard(*arguments: object, write: object = write, answers: Iterator[bool] = answers) -> object:
                answer = write(*arguments)  # type: ignore[operator]
                if next(answers, True):
                    return answer
                raise ConnectionError("server closed the connection unexpectedly")

            monkeypatch.setattr(study._storage, name, unheard)
            act()
    with closing(SearchStudy.load(postgres.url, "s")) as again:
        assert [record.state for record in again.records] == ["complete"]


def test_a_server_that_stays_away_is_an_error_and_then_at_once(postgres: Postgres) -> None:
    with closing(SearchStudy.create(postgres.url, "s", maximize=True)) as study:
        study.patience = 0.6
        postgres.stop()
        try:
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(
                    InputError, match=r"is gone: .*Connection refused; what it has is kept: go on by --resu"
                ):
                    begin(study)
            assert time.monotonic() - began < 0.5, "it is not waited for twice"
            with pytest.raises(InputError, match=r"refused; is the server up, and may you write there\?") as error:
                SearchStudy.load(postgres.url, "s")
        finally:
            postgres.start()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_wrong_password_or_none_is_refused_with_the_ways_to_give_it(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, password: str | None, tmp_path: Path
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    if password:
        monkeypatch.setenv("PGPASSWORD", password)
    else:
        monkeypatch.delenv("PGPASSWORD")
    with pytest.raises(InputError, match=r"a password comes from PGPASSWORD or ~/\.pgpass") as error:
        SearchStudy.create(postgres.url, "s", maximize=True)
    assert ("password authentication failed" if password else "no password supplied") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_password_may_come_from_a_file_or_a_service(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    passwords, services = tmp_path / "passwords", tmp_path / "services"
    passwords.write_text(f"127.0.0.1:{postgres.port}:*:*:{PASSWORD}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    search_once(postgres.url, "by a file")
    monkeypatch.delenv("PGPASSFILE")
    services.write_text(
        f"[team]\nhost=127.0.0.1\nport={postgres.port}\nuser=toprung\ndbname=toprung\npassword={PASSWORD}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    search_once("postgresql:///?service=team", "by a service")


def test_who_may_not_write_is_refused(postgres: Postgres) -> None:
    postgres.sql("DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "GRANT USAGE ON SCHEMA public TO toprung")
    with pytest.raises(InputError, match="permission denied for schema public; is the server up, and may you write"):
        SearchStudy.create(postgres.url, "s", maximize=True)


def test_a_server_that_does_not_answer_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    """The kernel takes the connection, and nobody speaks."""
    monkeypatch.setitem(study_storage.SERVER, "connect_timeout", 2)  # the least that libpq takes
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(InputError, match=r"timeout expired|timed out"),
    ):
        SearchStudy.create(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d", "s", maximize=True)


def test_without_its_driver_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from tune.experiment.study import SearchStudy\n"
        "SearchStudy.create('postgresql://u@h/d', 's', maximize=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert re.search(
        r"InputError: --storage postgresql://u@h/d: needs psycopg: pip install 'toprung\[postgres\]'$",
        done.stderr.strip(),
    )
