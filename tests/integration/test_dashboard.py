"""Optuna's dashboard over a made-up study."""

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.tune.reporting.stories import Story
from tune.cli import main


def test_the_study_is_shown_from_a_copy_that_follows_it(tmp_path: Path) -> None:
    story = Story.begin(tmp_path, on_disk=True)
    story.trial("knn", [0.9])
    file = story.experiment.folder / "study.db"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tune.cli", "dashboard", str(story.experiment.folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as dashboard:
        try:
            (study,) = ask(port, "studies")["studies" if "studies" in ask(port, "studies") else "study_summaries"]
            assert study["study_name"] == "story"
            trials = f"studies/{study['study_id']}"
            assert [trial["values"] for trial in ask(port, trials)["trials"]] == [[0.9]]
            story.trial("mlp", [0.5, 0.7])
            end = time.monotonic() + 60
            while len(ask(port, trials)["trials"]) < 2:
                assert time.monotonic() < end
                time.sleep(0.5)
            story.study.close()
            before = hashlib.sha256(file.read_bytes()).hexdigest()
            ask(port, trials)
            assert hashlib.sha256(file.read_bytes()).hexdigest() == before
        finally:
            dashboard.send_signal(signal.SIGINT)
            said, errors = dashboard.communicate(timeout=60)
    assert dashboard.returncode == 0, errors
    assert said.startswith(f"http://127.0.0.1:{port}/dashboard/ shows a copy")


def ask(port: int, path: str) -> Any:
    """Return the answer of the dashboard's API, waiting until it serves."""
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=30) as answer:
                return json.load(answer)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def test_a_port_that_is_taken_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story.begin(tmp_path, on_disk=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["dashboard", str(story.experiment.folder), "--port", str(port)]) == 2
    assert f"--port {port}: Address already in use; give another" in capsys.readouterr().err
    assert main(["dashboard", str(story.experiment.folder), "--port", "99999"]) == 2
    assert "--port 99999: is not from 0 to 65535; give another" in capsys.readouterr().err
