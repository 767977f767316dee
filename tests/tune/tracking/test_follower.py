"""Refusals of `toprung track` before its first request to W&B."""

from pathlib import Path

import pytest
from filelock import FileLock

from tests.tune.reporting.stories import Story
from tune.cli import main


def test_a_search_that_shows_itself_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = Story.begin(tmp_path, on_disk=True, wandb="offline").experiment
    with FileLock(experiment.folder / ".lock"):
        assert main(["track", str(experiment.folder), "--wandb", "offline"]) == 2
    assert "is being searched, and its search sends it to W&B already" in capsys.readouterr().err


def test_without_a_login_nothing_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    experiment = Story.begin(tmp_path, on_disk=True).experiment
    assert main(["track", str(experiment.folder)]) == 2
    assert "W&B: there is no login: wandb login, or WANDB_API_KEY; without one, --wandb offline writes" in (
        capsys.readouterr().err
    )
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert main(["track", str(experiment.folder)]) == 2
    assert "W&B cannot be used: " in capsys.readouterr().err
    assert main(["track", str(experiment.folder), "--wandb", "off"]) == 2
    assert "give online or offline" in capsys.readouterr().err
    assert not (experiment.folder / "wandb").exists()
