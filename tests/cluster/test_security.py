"""The files, output and ports of a search process: they reveal no key and are closed to other users."""

import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tune.experiment.experiment import Experiment
from tune.experiment.study import SearchStudy

ROOT = Path(__file__).parent.parent.parent
PLANTED = {
    name: f"planted-{name.lower()}-0f8fad5bd9cb469fa165"
    for name in ("AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "HF_TOKEN", "PGPASSWORD", "RAY_AUTH_TOKEN")
}
CLASSES = ["../../escaped", "<script>alert(1)</script>", "two\nlines", "/tmp/escaped", "..", 'a"b&c']
WAIT = 200.0


@dataclass(frozen=True)
class Searched:
    """A finished search: its folder, its output, the addresses on which its processes listened."""

    folder: Path
    said: str
    listened: set[str]

    @property
    def experiment(self) -> Path:
        return self.folder / "results" / "planted"


@pytest.fixture(scope="module")
def searched() -> Iterator[Searched]:
    """A search with keys in its environment, odd class names, and trials that fail with tracebacks."""
    with TemporaryDirectory(prefix="s-") as folder:  # pytest's own has too long a path for Ray's sockets
        yield search_in(Path(folder))


def search_in(folder: Path) -> Searched:
    write_digits(folder / "data" / "digits.parquet")
    command = [
        sys.executable, str(ROOT / "tune" / "run.py"), "--data", f"parquet:{folder}/data", "--split", "0.6,0.2,0.2",
        "--recipes", f"{ROOT / 'tests' / 'recipes'},knn", "--set", "probe.behaviour=train|raise",
        "--set", "probe.skill=0.5", "--set", "probe.number=1", "--trials", "4", "--max-epochs", "2",
        "--grace-period", "2", "--concurrent", "1", "--final-seeds", "1",
        "--out", str(folder / "results"), "--cache", str(folder / "cache"), "--name", "planted",
    ]  # fmt: skip
    own = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "RAY_TMPDIR": str(folder / "ray")}
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    (folder / "ray").mkdir()
    with (folder / "said").open("w+") as said:
        process = psutil.Popen(
            command, stdout=said, stderr=said, start_new_session=True, env={**without, **own, **PLANTED}
        )
        try:
            listened = until_it_ends(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = (folder / "said").read_text()
    assert process.returncode == 0, text
    return Searched(folder, text, listened)


def write_digits(file: Path) -> None:
    digits = load_digits()
    images = []
    for image in digits.images[:180]:
        content = BytesIO()
        Image.fromarray((image * 255 / 16).astype(np.uint8)).save(content, "PNG")
        images.append(content.getvalue())
    labels = [CLASSES[label % len(CLASSES)] for label in digits.target[:180]]
    file.parent.mkdir()
    pq.write_table(pa.table({"image": images, "label": labels}), file)


def until_it_ends(process: psutil.Popen) -> set[str]:
    """Wait for the end; return the addresses on which the search and its children listened."""
    end, addresses = time.monotonic() + WAIT, set()
    while process.poll() is None:
        assert time.monotonic() < end, "the search does not end"
        try:
            for each in [process, *process.children(recursive=True)]:
                addresses |= {c.laddr.ip for c in each.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        except psutil.Error:
            pass  # one has just ended
        time.sleep(0.2)
    return addresses


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def test_trials_failed_and_left_tracebacks(searched: Searched) -> None:
    experiment = Experiment.open(searched.experiment)
    states = {record.state for record in SearchStudy.load(experiment.storage, "planted").records}
    assert states >= {"complete", "failed"}
    assert list(searched.experiment.glob("trials/*/error-*.txt"))


def test_no_credential_is_in_any_file_or_said(searched: Searched) -> None:
    """The scan covers Ray's own logs and the compressed columns of Parquet files."""
    looked_at = [*files(searched.experiment), *files(searched.folder / "cache"), *files(searched.folder / "ray")]
    assert {file.suffix for file in looked_at} >= {".yaml", ".json", ".db", ".parquet", ".html", ".md", ".log", ".txt"}
    assert any("ray" in file.relative_to(searched.folder).parts[0] for file in looked_at)
    for file in looked_at:
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content += str(pq.read_table(file).to_pylist()).encode()
        assert not [name for name, value in PLANTED.items() if value.encode() in content], file
    assert not [name for name, value in PLANTED.items() if value in searched.said]


def test_class_names_escape_neither_their_folder_nor_the_page(searched: Searched) -> None:
    assert Experiment.open(searched.experiment).read("data.json")["classes"] == sorted(CLASSES)
    assert not [path for path in searched.folder.rglob("*") if "escaped" in path.name or "script" in path.name]
    assert not Path("/tmp/escaped").exists()
    assert {path.name for path in (searched.folder / "results").iterdir()} == {"planted"}
    page = (searched.experiment / "report" / "index.html").read_text()
    assert "<script>alert" not in page
    assert "alert(1)" in page, "class names are shown"


def test_no_file_is_executable(searched: Searched) -> None:
    found = [*files(searched.experiment), *files(searched.folder / "cache")]
    assert found
    assert not [file for file in found if file.stat().st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)]


def test_nothing_listens_but_on_this_machine_itself(searched: Searched) -> None:
    assert searched.listened, "Ray listens"
    assert {address.removeprefix("::ffff:") for address in searched.listened} == {"127.0.0.1"}


def test_rays_token_is_in_no_file(searched: Searched) -> None:
    assert not (searched.folder / ".ray").exists()
