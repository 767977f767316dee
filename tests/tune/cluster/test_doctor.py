"""`toprung doctor` on this machine; tests/integration has it on a cluster, test_machine.py the checks of a machine."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tune.cli import main
from tune.cluster import doctor
from tune.cluster.doctor import Probes, _versions, _wandb, examine, merged
from tune.cluster.machine import GIB, Finding, Machine, look, versions
from tune.settings.settings import make

KEY = "0123456789" * 4


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the developer's own cluster, login and W&B settings from the tests."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    return {"out": str(tmp_path / "results"), "cache": str(tmp_path / "cache")}


def of_check(check: str, **given: object) -> Finding:
    (found,) = (finding for finding in examine(make(given), Probes(ray_port=0)) if finding.check == check)
    return found


def with_room(places: Mapping[str, str]) -> Machine:
    """Return this machine with free disks, free shared memory and free GPUs."""
    here = look(places)
    return replace(here, free=dict.fromkeys(here.free, 100 * GIB), shared_memory=8 * GIB, gpu_problem="")


def test_each_check_has_a_line_and_nothing_is_left_behind(place: dict[str, str], tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    found = list(examine(make(place), Probes(machine=with_room, ray_port=0)))
    assert {finding.level for finding in found} == {"ok"}
    assert [finding.check for finding in found] == [
        "versions", "GPUs", "disk", "shared memory", "data", "recipes", "a trial", "ports", "W&B",
    ]  # fmt: skip
    assert "digits: 1,797 images of 10 classes" in found[-5].text
    assert set(tmp_path.iterdir()) == before


def test_findings_are_lines_with_level_and_check(place: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--gpus-per-trial", "0", "--out", place["out"], "--cache", place["cache"]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0][:9].strip(), lines[0][9:24].strip()) == ("ok", "versions")
    assert (lines[-1][:9].strip(), lines[-1][9:24].strip()) == ("ok", "W&B")


def test_an_error_is_exit_code_1_and_the_rest_is_looked_at(
    place: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", "/nowhere", "--cpus-per-trial", "4000", "--out", place["out"], "--cache", place["cache"]]
    assert main(["doctor", *arguments]) == 1
    lines = capsys.readouterr().out.splitlines()
    errors = [line for line in lines if line.startswith("error")]
    assert "--data /nowhere: there is no /nowhere; there are: digits" in errors[0]
    assert "--cpus-per-trial 4000: no node has more than" in errors[1]
    assert len(errors) == 2
    assert "W&B" in lines[-1]


def test_settings_come_from_a_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "search.yaml").write_text("data: /nowhere\ntrials: 3\n")
    assert main(["doctor", "--config", str(tmp_path / "search.yaml")]) == 1
    assert "--data /nowhere: there is no /nowhere" in capsys.readouterr().out


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "0.png").write_bytes(b"none")
    found = of_check("data", data=str(tmp_path / "images"))
    assert found.level == "warning"
    assert found.text.startswith("a/0.png is broken: ")


@pytest.mark.usefixtures("_forgets_recipes")
def test_a_recipe_whose_library_is_missing_is_an_error(readme_recipe: Path) -> None:
    file = readme_recipe / "trainables" / "linear.py"
    needs = "recipe 'linear' needs no_such_library: pip install no-such-library"
    missing = f'from search_spaces import InputError\nraise InputError("{needs}")\n'
    file.write_text(file.read_text() + missing)
    assert of_check("recipes", recipes=str(readme_recipe)) == Finding("error", "recipes", needs)


def test_a_package_that_is_missing_is_named() -> None:
    here = replace(look({}), versions=versions(("numpy", "no-such-package")))
    assert _versions(here) == Finding("error", "versions", "no-such-package not installed; pip install no-such-package")


def test_a_bucket_that_is_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: object, name: str) -> None:
        raise OSError("When creating bucket: AWS Error ACCESS_DENIED (Request ID: 1)")

    monkeypatch.setattr(doctor.SyncedFolder, "try_writing", refuse)
    found = of_check("storage", out="s3://mine/results", cache=str(tmp_path))
    assert found.level == "error"
    assert found.text.startswith("--out s3://mine/results: cannot be written: When creating bucket: AWS Error ACCESS_")
    assert "credentials come from the environment" in found.text


def test_a_cluster_that_does_not_answer_is_an_error_and_the_data_are_looked_at(place: dict[str, str]) -> None:
    found = list(examine(make({"address": "127.0.0.1:1", **place})))
    (cluster,) = (finding for finding in found if finding.check == "cluster")
    assert cluster.level == "error"
    assert cluster.text.startswith("--address 127.0.0.1:1: ")
    assert [finding.check for finding in found] == ["versions", "cluster", "data", "W&B"]


def test_what_many_nodes_found_is_a_line_a_check_unless_something_is_wrong() -> None:
    found = [Finding("ok", "disk", text) for text in ("5", "6", "7", "7", "8")]
    full = [Finding("error", "disk", "node b: full"), Finding("warning", "disk", "node c: low")]
    assert list(merged(found)) == [Finding("ok", "disk", "2 nodes: 7; 1 node: 5; 1 node: 6; and 1 more")]
    assert list(merged([found[0], full[0], found[1], full[1]])) == full


# W&B


class _Answers(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Answers) as made:
        thread = Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_without_a_login_wandb_is_not_used() -> None:
    assert _wandb() == Finding("ok", "W&B", "not used, as there is no login: wandb login, or WANDB_API_KEY")


@pytest.mark.parametrize(("mode", "said"), [("offline", "offline: runs are kept"), ("disabled", "disabled")])
def test_a_mode_without_network_is_said(monkeypatch: pytest.MonkeyPatch, mode: str, said: str) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    found = _wandb()
    assert found.level == "ok"
    assert found.text.startswith(said)


@pytest.mark.parametrize("by", ["environment", "netrc"])
def test_with_a_login_wandb_is_asked_whether_it_is_there(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server)
    if by == "netrc":
        (tmp_path / "netrc").write_text(f"machine {server.removeprefix('http://')}\n login user\n password {KEY}\n")
        (tmp_path / "netrc").chmod(0o600)
    else:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    found = _wandb()
    assert found == Finding("ok", "W&B", f"logged in, and {server} answers")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    found = _wandb()
    assert found.level == "warning"
    assert "http://127.0.0.1:1 does not answer within 3 s: " in found.text
    assert found.text.endswith("WANDB_MODE=offline keeps runs, which can be synced")
    assert KEY not in found.text


def test_a_mode_that_is_none_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    assert _wandb().level == "warning"
