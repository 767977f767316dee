"""`ray up`, `ray submit`, `ray down` on hosts, with the commands and the file that the documentation names."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from tests.cluster.lab import LAUNCHER, SHARED, Lab
from tune.record import Record
from tune.study import SearchStudy

ROOT = Path(__file__).parent.parent.parent
CLUSTER = "ray {} /root/cluster.yaml"
SEARCH = (
    f"--data {SHARED}/digits --recipes plain_cnn --max-epochs 15 --grace-period 15 --final-seeds 1 "
    "--set plain_cnn.batch_size=32"
)
"""Trials of some seconds, none of which is stopped."""


def cluster_file(lab: Lab) -> str:
    """cluster/on-prem.yaml with what a person fills in, and what a network without packages asks for."""
    text = (ROOT / "cluster" / "on-prem.yaml").read_text()
    text = text.replace("~/.toprung/bin", f"{sys.prefix}/bin")
    config = yaml.safe_load(text)
    head, *workers = (address for name, address in lab.addresses.items() if name != LAUNCHER)
    config["provider"] |= {"head_ip": head, "worker_ips": workers}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": "/run/keys/id"}
    (install,) = (command for command in config["setup_commands"] if " install " in command)
    python = f"{sys.prefix}/bin/python"
    offline = "install --quiet --no-deps --no-build-isolation --root-user-action=ignore --editable ~/toprung"
    config["setup_commands"][config["setup_commands"].index(install)] = (
        f"{python} -m ensurepip > ~/pip.log && {python} -m pip {offline}"
    )
    small = "--object-store-memory=100000000 --num-cpus"
    for key, cores in (("head_start_ray_commands", 0), ("worker_start_ray_commands", 1)):
        config[key][-1] += f" {small}={cores}"
    return yaml.safe_dump(config, sort_keys=False)


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Lab]:
    """The lab with a cluster on it, and digits in its shared folder."""
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images[:600], digits.target[:600], strict=True)):
        place = lab.shared / "digits" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255 / 16).astype(np.uint8)).save(place / f"{number}.png")
    (lab.home(LAUNCHER) / "cluster.yaml").write_text(cluster_file(lab))
    up(lab)
    yield lab
    down(lab)
    assert lab.run("head", "pgrep -c raylet || true").strip() == "0"


def up(lab: Lab) -> None:
    lab.run(LAUNCHER, f"cd {ROOT} && {CLUSTER.format('up -y')}", timeout=180)
    wait(lambda: " 3 local.cluster.node" in lab.run("head", "ray status 2>&1 || true"), "three nodes")


def down(lab: Lab) -> None:
    lab.run(LAUNCHER, f"cd {ROOT} && {CLUSTER.format('down -y')}", timeout=120)


def wait(true: Callable[[], bool], what: str, process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + 120
    while not true():
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > end:
            said = process.communicate()[0][-4000:] if ended and process else "it has not ended"
            pytest.fail(f"no {what}: {said}")
        time.sleep(0.5)


def submit(lab: Lab, arguments: str) -> subprocess.Popen[str]:
    command = f"cd {ROOT} && {CLUSTER.format('submit')} tune/run.py -- {arguments}"
    return subprocess.Popen(lab.command(LAUNCHER, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_every_host_runs_what_was_synced_to_it(cluster: Lab) -> None:
    for host in ("head", "one", "two"):
        said = cluster.run(host, "cd / && python -c 'import tune.cli; print(tune.cli.__file__)'")
        assert said == "/root/toprung/tune/cli.py\n"


def test_a_search_over_two_hosts_goes_on_when_one_is_switched_off(cluster: Lab) -> None:
    with submit(cluster, f"{SEARCH} --name host --trials 6") as process:
        wait(lambda: all(trains(cluster, host) for host in ("one", "two")), "trial on each host", process)
        before = len(epochs(cluster, "host"))
        wait(lambda: len(epochs(cluster, "host")) >= before + 4, "four epochs", process)
        cluster.kill("two")
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    found = records(cluster, "host")
    assert [record.state for record in found] == ["complete"] * 6
    assert all([epoch["epoch"] for epoch in record.epochs] == list(range(1, 16)) for record in found)
    assert sum(record.attempts > 1 for record in found) == 1
    assert (cluster.shared / "results/host/report/index.html").is_file()


def test_a_head_is_lost_with_its_disk_and_another_goes_on(cluster: Lab) -> None:
    cluster.boot("two")
    with submit(cluster, f"{SEARCH} --name head --trials 4") as process:
        wait(lambda: any(record.state == "complete" for record in records(cluster, "head")), "complete trial", process)
        cluster.kill("head")
        process.communicate(timeout=60)
    before = records(cluster, "head")
    cluster.replace("head")
    down(cluster)  # or the launcher takes it for the machine that it has set up
    up(cluster)
    with submit(cluster, f"--resume {SHARED}/results/head") as process:
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    found = records(cluster, "head")
    assert [record.state for record in found] == ["complete"] * 4
    assert all([epoch["epoch"] for epoch in record.epochs] == list(range(1, 16)) for record in found)
    for record in before:
        if record.state == "complete":
            assert found[record.number] == record


def trains(lab: Lab, host: str) -> bool:
    return lab.run(host, "pgrep -c -f '[r]ay::ResourceTrainable' || true").strip() == "1"


def records(lab: Lab, name: str) -> list[Record]:
    file = lab.shared / "results" / name / "study.db"
    return SearchStudy.load(f"sqlite:///{file}", name).records if file.exists() else []


def epochs(lab: Lab, name: str) -> list[dict[str, float]]:
    return [epoch for record in records(lab, name) for epoch in record.epochs]
