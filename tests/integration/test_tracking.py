"""Searches tracked by W&B's real client, with a stand-in server that works, fails or is gone."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.running_search import decisions, records_of
from tests.wandb_files import WrittenRun, runs_in
from tests.wandb_server import KEY, Run, WandbServer, wandb_server
from tune.cli import main
from tune.experiment.trial_ranking import rung_of
from tune.experiment.trial_record import TrialRecord
from tune.tracking.process import SEARCH_END_TIMEOUT_S

pytestmark = pytest.mark.usefixtures("ray_session")

PROBE = Path(__file__).parent.parent / "recipes"
COMMON = [
    "search", "--data", "digits", "--limit", "200", "--recipes", f"{PROBE},knn", "--set",
    "probe.behaviour=train|diverge", "--trials", "8", "--max-epochs", "4", "--grace-period", "1",
    "--reduction-factor", "2", "--final-seeds", "2",
]  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A stand-in server, set in the environment for W&B's client."""
    with wandb_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def search(cache: Path, tmp_path: Path) -> Callable[..., Path]:
    def run(name: str, *flags: str) -> Path:
        assert main([*COMMON, "--cache", str(cache), "--out", str(tmp_path), "--name", name, *flags]) == 0
        return tmp_path / name

    return run


@pytest.fixture(scope="module")
def begun(ray_session: None, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The search without W&B and without its last two trials."""
    out = tmp_path_factory.mktemp("begun")
    assert main([*COMMON, "--cache", str(cache), "--out", str(out), "--name", "alone", "--trials", "6"]) == 0
    return out / "alone"


@pytest.fixture(scope="module")
def alone(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The decisions of the search without W&B."""
    experiment = shutil.copytree(begun, tmp_path_factory.mktemp("alone") / "alone")
    assert main(["search", "--resume", str(experiment), "--trials", "8"]) == 0
    return came_of(experiment)


@pytest.fixture(scope="module")
def offline(ray_session: None, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The search with offline runs; W&B's client knows a server, but sends it no request."""
    out = tmp_path_factory.mktemp("offline")
    with wandb_server() as server, pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as said:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        flags = ["--cache", str(cache), "--out", str(out), "--name", "offline", "--wandb", "offline"]
        assert main([*COMMON, *flags]) == 0
        assert not server.asked
    assert f"send them with: toprung track {out / 'offline'}" in said.getvalue()
    return out / "offline"


def test_each_trial_and_each_final_is_a_run_with_its_configuration_history_and_state(
    server: WandbServer, search: Callable[..., Path], alone: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = search("good", "--wandb", "online", "--wandb-project", "shapes", "--wandb-tags", "a,b")
    said = capsys.readouterr().out
    records = records_of(experiment)
    assert came_of(experiment) == alone
    trials = server.of_type("trial")
    assert len(trials) == len(records)
    for run, record in zip(trials, records, strict=True):
        same(run, record)
        assert run.project == "shapes"
        assert run.group == "good"
        assert run.tags == [record.recipe, "a", "b"]
    summary = json.loads((experiment / "report.json").read_text())
    finals = {run.display_name: run for run in server.of_type("final")}
    assert set(finals) == {folder.name for folder in (experiment / "finals").iterdir()}
    for name, run in finals.items():
        final = json.loads((experiment / "finals" / name / "final.json").read_text())
        assert run.summary["test/accuracy"] == final["test"]["accuracy"]
        assert [row["val/accuracy"] for row in run.history if "val/accuracy" in row] == [
            figures["accuracy"] for figures in final["curves"]
        ]
        assert {
            f"test/{name}" for name in ("per_class", "confusion_matrix_table", "precision_recall_table", "roc_table")
        } <= set(run.history[-1])
        assert run.state == "finished"
    (of_search,) = server.of_type("search")
    assert of_search.summary["winner"] == summary["winner"]
    assert of_search.summary["leaderboard"]["nrows"] == 2
    committed = {artifact.name: artifact for artifact in server.artifacts.values() if artifact.state == "COMMITTED"}
    assert {"report/index.html", "report.md", "report/curves.png"} <= set(committed["good-report"].files)
    assert "model.safetensors" in committed["good-model"].files
    assert committed["good-model"].metadata["recipe"] == summary["winner"]
    assert "best" in committed["good-model"].aliases
    assert not server.unknown
    assert said.count("W&B: ") == 1
    assert f"W&B: {server.url}/team/shapes/runs/" in said
    assert not (experiment / "wandb").exists(), "what was sent need not be kept"
    assert KEY.encode() not in b"".join(f.read_bytes() for f in experiment.rglob("*") if f.is_file())


def test_a_resumed_search_goes_on_with_its_runs_and_its_sweep_and_makes_none_twice(
    server: WandbServer, search: Callable[..., Path]
) -> None:
    """The sweep shows what its trials vary."""
    experiment = search("again", "--wandb", "online", "--wandb-sweep", "--trials", "4")
    (sweep,) = server.sweeps.values()
    assert sweep.config["method"] == "custom"
    assert sweep.config["metric"] == {"name": "best", "goal": "maximize"}
    trials = server.of_type("trial")
    assert sorted(sweep.runs) == [run.name for run in trials]
    assert len(trials) == 4
    for run in trials:
        assert run.sweep == sweep.name
        assert set(run.values) - {"trial", "seed"} <= set(sweep.config["parameters"])
        assert all("best" in row for row in run.history)
    assert sweep.state == "FINISHED"
    before = {run.name: list(run.history) for run in trials}
    assert main(["search", "--resume", str(experiment), "--trials", "6"]) == 0
    assert list(server.sweeps) == [sweep.name], "a resumed search goes on in its sweep"
    assert len(sweep.runs) == 6
    assert main(["track", str(experiment)]) == 0
    records = records_of(experiment)
    trials = server.of_type("trial")
    assert len(trials) == len(records) == 6
    for run, record in zip(trials, records, strict=True):
        same(run, record)
    for name, history in before.items():
        assert server.runs[name].history == history
    assert len(server.of_type("search")) == 1


def test_offline_runs_can_be_read_by_wandbs_reader_and_sent_later(server: WandbServer, offline: Path) -> None:
    records = records_of(offline)
    written = {run.id: run for run in runs_in(offline / "wandb")}
    trials = [run for _, run in sorted(written.items()) if run.job_type == "trial"]
    assert len(trials) == len(records)
    for run, record in zip(trials, records, strict=True):
        same(run, record)
    assert main(["track", str(offline)]) == 0
    assert set(server.runs) == set(written)
    for run, record in zip(server.of_type("trial"), records, strict=True):
        same(run, record)


@pytest.mark.parametrize("fault", ["every third request fails", "hangs", "hangs later", "is gone", "refuses the key"])
def test_a_bad_server_costs_a_search_nothing_but_a_minute(
    fault: str,
    server: WandbServer,
    begun: Path,
    alone: list[Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    match fault:
        case "every third request fails":
            server.fails = lambda count: count % 3 == 0
        case "hangs":
            server.hangs.set()
        case "hangs later":
            server.hangs_after = 12
        case "is gone":
            server.stop()
        case "refuses the key":
            server.key = "another"
    experiment = shutil.copytree(begun, tmp_path / "bad")
    assert main(["search", "--resume", str(experiment), "--trials", "8", "--wandb", "online"]) == 0
    assert SEARCH_END_TIMEOUT_S < 60, "what it waits at its end for a server that hangs for ever"
    said = capsys.readouterr().out
    records = records_of(experiment)
    assert came_of(experiment) == alone
    if fault == "every third request fails":
        shown: list[Run] | list[WrittenRun] = server.of_type("trial")
    else:
        assert said.count("warning: W&B: ") == 1
        assert f"send them with: toprung track {experiment}" in said
        shown = sorted((r for r in runs_in(experiment / "wandb") if r.job_type == "trial"), key=lambda run: run.id)
    assert len(shown) == len(records)
    for run, record in zip(shown, records, strict=True):
        same(run, record)


def test_a_full_disk_under_wandb_loses_nothing(
    server: WandbServer, offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = shutil.copytree(offline, tmp_path / "full")
    place = experiment / "wandb"
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounts are not allowed")
    try:
        capsys.readouterr()
        assert main(["search", "--resume", str(experiment), "--trials", "10", "--wandb", "online"]) == 0
        said = capsys.readouterr().out
        assert f"warning: W&B: {place}: [Errno 28] No space left on device; nothing is lost" in said
        assert "report: " in said
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert main(["track", str(experiment)]) == 0
    for run, record in zip(server.of_type("trial"), records_of(experiment), strict=True):
        same(run, record)


def came_of(experiment: Path) -> list[Any]:
    """Return the decisions of a search and its winner."""
    summary = json.loads((experiment / "report.json").read_text())
    return [*decisions(records_of(experiment)), summary["winner"], summary["recipes"][summary["winner"]]["config"]]


def same(run: Run | WrittenRun, record: TrialRecord) -> None:
    """Check that a run agrees with the study's trial."""
    config = {"recipe": record.recipe, **record.config, "trial": record.number, "seed": record.seed}
    assert run.values == config
    rows = [row for row in run.history if "val/accuracy" in row]
    assert [row["epoch"] for row in rows] == [figures["epoch"] for figures in record.epochs]
    for row, figures in zip(rows, record.epochs, strict=True):
        assert row["val/accuracy"] == figures["accuracy"]
        assert row["best"] == record.values[int(figures["epoch"])]
        assert np.isclose(row["seconds"], figures["seconds"])
    assert run.summary["state"] == record.state
    assert run.summary["best_value"] == record.value
    assert record.values[run.summary["best_epoch"]] == record.value
    assert run.summary["rung"] == rung_of(record, [1, 2])
    assert run.state == ("finished" if record.state in ("complete", "pruned") else "failed")
