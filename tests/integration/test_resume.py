"""Search processes that are stopped or killed in the middle, and resumed."""

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.running_search import RUN, TRIAL, RunningSearch, decisions, records_of
from tune.cli import main
from tune.experiment.trial_record import TrialRecord

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an outside recipe, kNN under another name, that records its importer's import path."""
    folder = tmp_path_factory.mktemp("own")
    space = 'from search_spaces.knn import KNN\n\n\nclass Own(KNN):\n    """kNN."""\n'
    recipe = (
        "import os\nimport sys\nfrom pathlib import Path\n\nfrom trainables.knn import build, train\n\n"
        "Path(__file__).with_name(f'{os.getpid()}.path').write_text('\\n'.join(sys.path))\n"
    )
    for package, code in (("search_spaces", space), ("trainables", recipe)):
        (folder / package).mkdir()
        (folder / package / "own.py").write_text(code)
    return folder


@pytest.fixture(scope="module")
def arguments(out: Path, cache: Path, own: Path) -> list[str]:
    """Return the flags of a search with reproducible decisions: one trial at a time."""
    return [
        "--data", "digits", "--recipes", f"plain_cnn,{own}",
        "--set", "plain_cnn.width=16", "--set", "plain_cnn.batch_size=32",
        "--trials", "10", "--max-epochs", "9", "--grace-period", "2", "--reduction-factor", "2", "--concurrent", "1",
        "--final-seeds", "1", "--out", str(out), "--cache", str(cache),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(ray_session: None, out: Path, arguments: list[str]) -> list[TrialRecord]:
    assert main(["search", *arguments, "--name", "undisturbed"]) == 0
    return records_of(out / "undisturbed")


@pytest.fixture
def start(out: Path, arguments: list[str]) -> Callable[..., RunningSearch]:
    """A function that starts such a search as a process, by name, or resumes it."""

    def started(name: str, *, resumed: bool = False) -> RunningSearch:
        flags = ["--resume", str(out / name)] if resumed else [*arguments, "--name", name]
        return RunningSearch([*RUN, *flags], lambda: records_of(out / name))

    return started


def in_the_middle(found: list[TrialRecord]) -> bool:
    return len(found) >= 4 and any(r.state == "running" and 1 <= len(r.epochs) <= 6 for r in found)


def test_whatever_is_killed_or_stopped_once_resumed_it_decides_as_if_nothing_had_been(
    out: Path, undisturbed: list[TrialRecord], start: Callable[..., RunningSearch]
) -> None:
    """A kill ends the process of a trial, another that of the search, then Ctrl-C stops the search."""
    hit: list[int] = []

    def hold_another(search: RunningSearch) -> list[TrialRecord]:
        def another_trains(found: list[TrialRecord]) -> bool:
            return (
                bool(found) and found[-1].epochs != [] and found[-1].state == "running" and found[-1].number not in hit
            )

        found = search.until("another trial that trains", another_trains, hold=True)
        hit.append(found[-1].number)
        return found

    with start("hit") as search:
        hold_another(search)
        (trial,) = trials_of(search)
        trial.kill()
        search.process.send_signal(signal.SIGCONT)
        cut_off = hold_another(search)
        search.process.kill()
        search.end()
    assert records_of(out / "hit") == cut_off
    ended = [record for record in cut_off if record.state != "running"]
    assert ended
    with start("hit", resumed=True) as search:
        hold_another(search)
        search.interrupt()
        assert search.end() == 130
        assert "stopping in order; once more to stop at once" in search.output
        assert f"continue with: toprung search --resume {out / 'hit'}" in search.errors
        assert search.output.splitlines()[-1] == f"report: {out / 'hit'}/report/index.html"
        assert "Traceback" not in search.said
    assert records_of(out / "hit")[-1].state == "running"
    assert main(["search", "--resume", str(out / "hit")]) == 0
    found = records_of(out / "hit")
    assert decisions(found) == decisions(undisturbed)
    assert [found[record.number] for record in ended] == ended
    assert [record.number for record in found if record.attempts == 2] == hit
    assert sum(record.attempts for record in found) == len(found) + len(hit)


def test_ctrl_c_twice_stops_at_once_whatever_trains_and_nothing_is_lost_and_nobody_else_can_resume_it_before(
    out: Path,
    own: Path,
    undisturbed: list[TrialRecord],
    start: Callable[..., RunningSearch],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with start("twice") as search:
        search.until("a trial in the middle", in_the_middle, hold=True)
        assert main(["search", "--resume", str(out / "twice")]) == 2
        assert "is being searched by another process" in capsys.readouterr().err
        (trial,) = trials_of(search)
        trial.suspend()  # it never answers
        path = (own / "trainables" / f"{trial.pid}.path").read_text().splitlines()
        assert str(Path(RUN[-1]).parent) not in path, "`import models` of a recipe would find a room of ours"
        search.interrupt()
        time.sleep(0.2)
        search.interrupt()
        assert search.end() == 130
        assert "Traceback" not in search.said
        assert (
            f"stopped at once; continue with: toprung search --resume {out / 'twice'}; report the results"
            in search.errors
        )
    assert not (out / "twice" / "report.json").exists()
    stopped = [record for record in records_of(out / "twice") if record.state != "running"]
    assert decisions(stopped) == decisions([undisturbed[record.number] for record in stopped])


def test_ctrl_c_in_the_finals_stops_at_once_and_the_finals_that_were_trained_are_kept(
    out: Path, undisturbed: list[TrialRecord], start: Callable[..., RunningSearch]
) -> None:
    shutil.copytree(out / "undisturbed", out / "finals")
    for name in ("report.json", "report.md"):
        (out / "finals" / name).unlink()
    kept, lost = sorted((out / "finals" / "finals").glob("*-0*-*"))
    shutil.rmtree(lost)
    before = {file: file.stat().st_mtime_ns for file in kept.iterdir()}
    with start("finals", resumed=True) as search:
        search.until("the finals", lambda _: "finalists trained: 1 of 2" in search.output)
        search.interrupt()
        assert search.end() == 130
        assert "Traceback" not in search.said
        assert f"continue with: toprung search --resume {out / 'finals'}" in search.errors
    so_far = json.loads((out / "finals" / "report.json").read_text())["recipes"]
    assert [recipe for recipe, entry in so_far.items() if entry["test"]] == [kept.name.split("-")[0]]
    assert main(["search", "--resume", str(out / "finals")]) == 0
    assert {file: file.stat().st_mtime_ns for file in kept.iterdir()} == before
    found, expected = (
        json.loads((out / name / "report.json").read_text())["recipes"] for name in ("finals", "undisturbed")
    )
    assert [found[recipe]["test"] for recipe in expected] == [expected[recipe]["test"] for recipe in expected]


def trials_of(search: RunningSearch) -> list[psutil.Process]:
    """Return the training processes of the search's own Ray; other searches may train on this machine."""
    found = []
    for process in psutil.Process(search.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if re.search(TRIAL, " ".join(process.cmdline())):
                found.append(process)
    return found
