"""The runs that W&B's client wrote on this machine, as its own reader has them."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class WrittenRun:
    """A run in a file."""

    id: str = ""
    name: str = ""
    job_type: str = ""
    sweep: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    state: str = "running"


def runs_in(folder: Path) -> list[WrittenRun]:
    """The offline runs in W&B's folder."""
    return [_read(file) for file in sorted(folder.glob("offline-run-*/*.wandb"))]


def _read(file: Path) -> WrittenRun:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    run = WrittenRun()
    for line in said.splitlines():
        record = json.loads(line)
        match record["type"]:
            case "run":
                told = record["run"]
                run.id, run.name, run.job_type = told["run_id"], told["display_name"], told["job_type"]
                run.sweep = told.get("sweep_id", "")
                config = told["config"]["update"]
                run.values = {key: value for key, value in config.items() if not key.startswith("_")}
            case "history":
                run.history.append(record["history"]["item"])
            case "summary":
                run.summary |= record["summary"]["update"]
            case "exit":
                run.state = "failed" if record["exit"].get("exit_code") else "finished"
    return run
