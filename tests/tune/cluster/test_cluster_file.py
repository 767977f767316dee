"""`toprung doctor` on the shipped cluster files and on spoilt ones."""

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces import InputError
from tune.cluster.cluster_file import Launcher, examine_file
from tune.settings.settings import make

ROOT = Path(__file__).parents[3]
ON_PREM = "cluster/on-prem.yaml"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with Ray's token, and the checkout whose files are mounted."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").touch()
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith("AWS_")]:  # nor is anyone logged in
        monkeypatch.delenv(name)
    monkeypatch.chdir(ROOT)
    return home


LAUNCHER = Launcher(
    which=lambda program: shutil.which(program) or f"/usr/bin/{program}",
    find_spec=lambda module: module,
    dashboard_port=0,
)
"""A machine with the programs that `ray up` runs."""


def found(file: Path | str, launcher: Launcher = LAUNCHER, **given: Any) -> dict[str, list[tuple[str, str]]]:
    """Levels and texts by check."""
    by_check: dict[str, list[tuple[str, str]]] = {}
    for finding in examine_file(Path(file), make(given), launcher):
        by_check.setdefault(finding.check, []).append((finding.level, finding.text))
    return by_check


def errors(file: Path | str, launcher: Launcher = LAUNCHER, **given: Any) -> list[str]:
    return [
        text for findings in found(file, launcher, **given).values() for level, text in findings if level == "error"
    ]


def spoilt(folder: Path, name: str, **changed: Any) -> Path:
    """A file that comes along, edited as it asks for, with other values."""
    values = yaml.safe_load((ROOT / name).read_text().replace("EDIT-", ""))
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump({**values, **changed}))
    return file


@pytest.mark.parametrize("name", ["cluster.yaml", "cluster/gcp.yaml", "cluster/kuberay.yaml", ON_PREM])
def test_what_comes_along_is_well_once_it_is_edited(name: str, tmp_path: Path) -> None:
    lines = {line for line in (ROOT / name).read_text().splitlines() if "EDIT-" in line}
    assert len(errors(name)) == len(lines), "a line for each that is left to edit, and no more"
    edited = tmp_path / "cluster.yaml"
    edited.write_text((ROOT / name).read_text().replace("EDIT-", ""))
    assert errors(edited) == []


def test_what_is_left_to_edit_is_said_with_its_line() -> None:
    (level, text), *_ = found("cluster.yaml")["to edit"]
    number = next(n for n, line in enumerate(Path("cluster.yaml").read_text().splitlines(), 1) if "EDIT-" in line)
    assert (level, text) == ("error", f"cluster.yaml, line {number}: put your own in place of EDIT-my-bucket")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"worker_count": 3}, "'worker_count' was unexpected"),
        ({"max_workers": "many"}, "max_workers: 'many' is not of type 'integer'"),
        ({"provider": {"type": "aw"}}, "Unsupported node provider: aw"),
        ({"provider": {"region": "us-west-2"}}, "type is missing"),
        ({"head_node_type": "none"}, "`head_node_type` must be one of `available_node_types`"),
    ],
)
def test_what_the_launcher_refuses_is_an_error_of_a_line(
    changed: dict[str, Any], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (error,) = errors(spoilt(tmp_path, "cluster.yaml", **changed))
    assert message in error
    assert "\n" not in error
    assert capfd.readouterr() == ("", ""), "Ray's own words are not shown"


def test_machines_without_addresses_are_refused(tmp_path: Path) -> None:
    (error,) = errors(spoilt(tmp_path, ON_PREM, provider={"type": "local"}))
    assert "Please supply a `head_ip`" in error


@pytest.mark.parametrize("key", ["setup_commands", "worker_start_ray_commands", "initialization_commands"])
def test_a_command_that_no_shell_reads_is_named(key: str, tmp_path: Path) -> None:
    (error,) = errors(spoilt(tmp_path, ON_PREM, **{key: ["echo one", "if true; then echo 'two"]}))
    assert error.startswith("""\"if true; then echo 'two" is no shell command: """)


def test_files_that_are_not_here_are_named(tmp_path: Path) -> None:
    auth = {"ssh_user": "me", "ssh_private_key": "/no/key"}
    assert errors(spoilt(tmp_path, ON_PREM, file_mounts={"~/toprung": "/no/checkout"}, auth=auth)) == [
        "file_mounts of ~/toprung: there is no /no/checkout here",
        "ssh_private_key: there is no /no/key here",
    ]


def test_a_token_that_is_not_made_yet_is_said_with_the_command(home: Path, tmp_path: Path) -> None:
    (home / ".ray" / "auth_token").unlink()
    (error,) = errors(spoilt(tmp_path, ON_PREM))
    assert error.endswith(f"there is no {home}/.ray/auth_token here: (umask 077; ray get-auth-token --generate)")


def test_what_the_launcher_lacks_is_said(tmp_path: Path) -> None:
    poor = replace(LAUNCHER, find_spec=lambda module: None, which=lambda program: None if program == "rsync" else "it")
    (error,) = errors(spoilt(tmp_path, "cluster.yaml"), poor)
    assert error == "lacks on this machine what it runs: install rsync; pip install boto3"


def test_whether_a_trial_fits_is_said_where_it_is_known(tmp_path: Path) -> None:
    gcp = spoilt(tmp_path, "cluster/gcp.yaml")
    assert found(gcp)["a trial"] == [("ok", "gets 1 core and 1 GPU, 4 at a time")]
    assert found(gcp, gpus_per_trial=0.25, cpus_per_trial=2)["a trial"] == [
        ("ok", "gets 2 cores and 0.25 GPUs, 16 at a time")
    ]
    assert errors(gcp, cpus_per_trial=12) == ["--cpus-per-trial 12: no node has more than 8 CPUs; ask for at most that"]
    (error,) = errors("cluster/kuberay.yaml", cpus_per_trial=8)[1:]
    assert error == "--cpus-per-trial 8: no node has more than 7 CPUs; ask for at most that"


# the resources of nodes that the file does not state


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Someone who is logged in, and moto in place of EC2, with the types of cluster.yaml: all thousand take seconds."""
    from moto import mock_aws
    from moto.ec2.models import instance_types
    from moto.ec2.models.instance_types import INSTANCE_TYPES
    from ray.autoscaler._private.aws import utils

    types = {name: INSTANCE_TYPES[name] for name in ("m6i.xlarge", "g6.2xlarge")}
    monkeypatch.setattr(
        instance_types.InstanceTypeBackend, "instance_types", list(map(instance_types.InstanceType, types))
    )
    with mock_aws():
        yield
    for cache in (utils.resource_cache, utils.client_cache):
        cache.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("ec2")
def test_ec2_says_what_an_instance_type_has(tmp_path: Path) -> None:
    assert found("cluster.yaml")["a trial"] == [("ok", "gets 1 core and 1 GPU, 4 at a time")]
    half = found("cluster.yaml", cpus_per_trial=2, gpus_per_trial=0.5)["a trial"]
    assert half == [("ok", "gets 2 cores and 0.5 GPUs, 8 at a time")]
    edited = spoilt(tmp_path, "cluster.yaml")
    assert errors(edited, cpus_per_trial=12) == [
        "--cpus-per-trial 12: no node has more than 8 CPUs; ask for at most that"
    ]
    edited.write_text(edited.read_text().replace("g6.2xlarge", "g6.huge"))
    (error,) = errors(edited)
    assert error == (
        "Instance type g6.huge is not available in AWS region: us-west-2; give another InstanceType, or region"
    )


def test_without_a_login_it_is_not_known_and_no_one_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.httpsession

    def called(*arguments: object) -> None:
        pytest.fail("a server was asked")

    monkeypatch.setattr(botocore.httpsession.URLLib3Session, "send", called)
    assert found("cluster.yaml")["a trial"] == [
        (
            "warning",
            "it is not known whether a trial fits, as EC2 cannot be asked what gpu (g6.2xlarge) has: Unable to locate "
            "credentials; log in by aws configure, or say so in the file, such as resources: {CPU: 8, GPU: 1}",
        )
    ]


def test_without_the_client_of_ec2_it_is_said_how_to_get_it() -> None:
    ((level, text),) = found("cluster.yaml", replace(LAUNCHER, find_spec=lambda module: None))["a trial"]
    assert level == "warning"
    assert "as EC2 can be asked what gpu (g6.2xlarge) has by boto3 alone; pip install boto3, or say so" in text


def test_who_is_logged_in_and_does_not_reach_ec2_is_told_in_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", f"http://127.0.0.1:{silent.getsockname()[1]}")
        hasty = replace(LAUNCHER, connect_timeout_s=0.3, answer_timeout_s=0.3)
        ((level, text),) = found("cluster.yaml", hasty)["a trial"]
    assert level == "warning"
    assert "as EC2 cannot be asked what gpu (g6.2xlarge) has: Read timeout on endpoint URL" in text
    assert "secret" not in text


def test_what_ray_does_not_look_up_is_not_known(tmp_path: Path) -> None:
    gcp = spoilt(tmp_path, "cluster/gcp.yaml")
    gcp.write_text(gcp.read_text().replace("CPU: 8", "example: 8"))
    ((level, text),) = found(gcp)["a trial"]
    assert level == "warning"
    assert "as Ray does not look up what gpu (g2-standard-8) has; say so in the file" in text


def test_what_ones_own_machines_have_is_seen_when_they_run() -> None:
    ((level, text),) = found(ON_PREM)["a trial"]
    assert level == "warning"
    assert text.endswith(
        f"as what the machines have is seen once Ray runs there; then ray exec {ON_PREM} 'toprung doctor'"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML: "),
        ("data: digits", "starts no cluster: it has neither a provider nor a RayCluster"),
        ("", "starts no cluster"),
        ("kind: RayCluster", "spec is missing"),
        ("provider: local", "has no attribute"),
    ],
)
def test_what_is_no_cluster_file_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    (error,) = errors(tmp_path / "x.yaml")
    assert message in error


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory; give a cluster's YAML file"):
        list(examine_file(tmp_path, make({})))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="it is no text"):
        list(examine_file(tmp_path / "bytes", make({})))
