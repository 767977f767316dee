"""Sweeps that W&B drives: its real client and agents, and a stand-in for its server."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.wandb_server import ENTITY, WandbServer, wandb_server
from tune.cli import main

RUN = Path(__file__).parent.parent.parent / "tune" / "run.py"
PROBE = Path(__file__).parent.parent / "recipes"
TOPRUNG = [sys.executable, "-m", "tune.cli"]
WAIT = 200.0


@pytest.mark.parametrize("started", ["toprung", "python tune/run.py"])
def test_agents_train_what_a_sweep_draws_and_stop_when_told(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], started: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if started == "python tune/run.py":  # as in a checkout
        (tmp_path / "tune").mkdir()
        shutil.copy(RUN, tmp_path / "tune")
    flags = ["--data", "digits", "--limit", "200", "--cache", str(cache), "--max-epochs", "100000"]
    assert main(["sweep", str(PROBE), "knn", *flags, "--wandb-project", "shapes"]) == 0
    assert "create the sweep: wandb sweep sweep.yaml" in capsys.readouterr().out
    with wandb_server() as server:
        environment = {**os.environ, **server.environment, "CUDA_VISIBLE_DEVICES": ""}
        made = subprocess.run(
            [sys.executable, "-m", "wandb", "sweep", "sweep.yaml"], env=environment, capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr
        (sweep,) = server.sweeps.values()
        assert sweep.config == {**yaml.safe_load((tmp_path / "sweep.yaml").read_text())}
        drawn = {"knn.neighbors": 7, "knn.weights": "uniform", "probe.skill": 0.5, "probe.behaviour": "train"}
        sweep.queue += [{"recipe": "knn", **drawn}, {"recipe": "probe", **drawn}]
        path = f"{ENTITY}/{sweep.project}/{sweep.name}"
        with subprocess.Popen(
            [*TOPRUNG, "agent", path, "--gpus", "none"], env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        ) as agent:  # fmt: skip
            try:
                sweep.to_stop.append(the_one_that_trains_on(server))
                said, _ = agent.communicate(timeout=WAIT)
            finally:
                agent.kill()
        assert agent.returncode == 0, said
        first, second = (server.runs[name] for name in sweep.runs)
        assert first.values["neighbors"] == 7
        assert first.values["recipe"] == "knn"
        assert first.values["trained"]["recipe"] == "knn"
        assert first.values["trained"]["neighbors"] == 7
        assert "skill" not in first.values["trained"], "which is of another recipe"
        assert [row["epoch"] for row in first.history] == [1]
        assert first.history[0]["best"] == first.history[0]["val/accuracy"]
        assert (first.state, first.summary["state"]) == ("finished", "complete")
        assert second.values["skill"] == 0.5
        assert [row["epoch"] for row in second.history] == list(range(1, len(second.history) + 1))
        assert (second.state, second.summary["state"]) == ("finished", "stopped")
        assert sweep.state == "FINISHED"
        assert not server.unknown


def the_one_that_trains_on(server: WandbServer) -> str:
    """Wait until a trial of several hours has trained some epochs; return its run."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        for name, run in list(server.runs.items()):
            if len(run.history) >= 3:
                return name
        time.sleep(0.1)
    raise AssertionError(f"no run has three epochs: {server.runs}")


def test_without_a_sweep_nothing_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--sweep-trial", "--recipes", "knn"]) == 2
    assert "start some with: toprung agent SWEEP" in capsys.readouterr().err
