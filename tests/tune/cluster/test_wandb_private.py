"""W&B's private interfaces that the project uses, held against the installed W&B."""

from pathlib import Path

import pytest
import wandb
from wandb import env

from tune.cluster.wandb_private import RUN_VARIABLES, RunSettings, fault_of_key, key_of_login, run_settings

SERVER = "https://wandb.example.com"


def test_the_settings_of_a_run_are_those_of_wandb() -> None:
    wanted = run_settings(flush_s=1.0, retry_after_s=(1.0, 5.0))
    assert set(wanted) == set(RunSettings.__annotations__)
    made = wandb.Settings(**wanted)
    assert {name: getattr(made, name) for name in wanted} == wanted
    with pytest.raises(ValueError, match="x_nothing"):
        wandb.Settings(x_nothing=True)


def test_the_variables_of_a_run_are_those_of_wandb() -> None:
    assert set(RUN_VARIABLES) == {env.SWEEP_ID, env.SWEEP_PARAM_PATH, env.RUN_ID, env.RESUME, env.SERVICE}


def test_the_key_of_a_login_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(file))
    file.write_text(f"machine wandb.example.com login user password {'k' * 40}\n")
    file.chmod(0o600)
    assert key_of_login(SERVER) == "k" * 40
    assert key_of_login("https://other.example.com") is None


def test_a_key_that_cannot_be_one_has_a_fault() -> None:
    assert fault_of_key("k" * 40) is None
    assert fault_of_key("short")
