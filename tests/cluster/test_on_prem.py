"""`ray up`, `ray submit`, `ray down` on hosts, with the commands and the file that the documentation names."""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from tests.buckets import ENVIRONMENT, SERVE
from tests.cluster.lab import LAUNCHER, SHARED, Lab
from tests.cluster.ray_hosts import GIVES_UP
from tests.running_search import TRIAL, RunningSearch, records_in
from tune.experiment.trial_record import TrialRecord

ROOT = Path(__file__).parent.parent.parent
CLUSTER = "ray {} /root/cluster.yaml"
EPOCHS = 10
SEARCH = (
    f"--recipes plain_cnn --max-epochs {EPOCHS} --grace-period {EPOCHS} --final-seeds 1 --set plain_cnn.batch_size=32"
)
"""Flags for trials of some seconds without early stopping."""
BUCKET = "s3://shelf"
LEAVES = "RAY_gcs_rpc_server_reconnect_timeout_s=15"
"""Ray settings that end a worker without a head within seconds instead of a minute."""
pytestmark = pytest.mark.timeout(900)  # Ray takes minutes to bring clusters up and down
RECORDS = """
import json, sys, time
from contextlib import suppress
from dataclasses import asdict
from search_spaces import InputError
from tune.experiment.experiment import Experiment
from tune.experiment.study import SearchStudy
records = []
while not any(record.state == "complete" for record in records):
    time.sleep(0.2)
    with suppress(InputError):
        experiment = Experiment.open(sys.argv[1])
        records = SearchStudy.load(experiment.storage, experiment.settings.name).records
print(json.dumps([{key: value for key, value in asdict(r).items() if key != "distributions"} for r in records]))
"""


def cluster_file(lab: Lab) -> str:
    """cluster/on-prem.yaml, filled in as by a person and adapted to a network without a package index."""
    text = (ROOT / "cluster" / "on-prem.yaml").read_text()
    text = text.replace("~/.toprung/bin", f"{sys.prefix}/bin")
    assert "export RAY_AUTH_MODE=token PATH=" in text
    variables = " ".join([*bucket_environment(lab), GIVES_UP, LEAVES])
    text = text.replace("RAY_AUTH_MODE=token PATH=", f"RAY_AUTH_MODE=token {variables} PATH=")
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
    serve = f"python -W ignore -c {shlex.quote(SERVE)} {lab.addresses[LAUNCHER]} 9000"
    with subprocess.Popen(lab.command(LAUNCHER, serve), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stdout.readline().strip() == "9000"
            up(lab)
            yield lab
            down(lab)
        finally:
            server.kill()  # or the end of `with` would wait for it forever
    end = time.monotonic() + 180  # workers leave by themselves: see LEAVES
    while left := [host for host in ("head", "one", "two") if lab.run(host, "pgrep raylet || true")]:
        assert time.monotonic() < end, left
        time.sleep(0.5)


def bucket_environment(lab: Lab) -> list[str]:
    variables = {**ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://{lab.addresses[LAUNCHER]}:9000"}
    return [f"{name}={shlex.quote(value)}" for name, value in variables.items()]


def up(lab: Lab) -> None:
    lab.run(LAUNCHER, "(umask 077; ray get-auth-token --generate > /dev/null)")
    lab.run(LAUNCHER, f"cd {ROOT} && {CLUSTER.format('up -y')}", timeout=180)
    end = time.monotonic() + 120
    while " 3 local.cluster.node" not in lab.run("head", ". ~/.toprung.sh; ray status 2>&1 || true"):
        assert time.monotonic() < end, "no three nodes"
        time.sleep(0.5)


def down(lab: Lab) -> None:
    lab.run(LAUNCHER, f"cd {ROOT} && {CLUSTER.format('down -y')}", timeout=120)


def submit(lab: Lab, name: str, flags: str) -> RunningSearch:
    """A search on the cluster, as a laptop sees it."""
    command = f"cd {ROOT} && {CLUSTER.format('submit')} tune/run.py -- {flags}"
    return RunningSearch(lab.command(LAUNCHER, command), lambda: records(lab, name))


def test_every_host_runs_what_was_synced_to_it(cluster: Lab) -> None:
    for host in ("head", "one", "two"):
        said = cluster.run(host, "cd / && python -c 'import tune.cli; print(tune.cli.__file__)'")
        assert said == "/root/toprung/tune/cli/__init__.py\n"


def test_only_who_has_the_token_is_answered(cluster: Lab) -> None:
    """The launcher copied the token to every host, readable by its user only."""
    (token,) = {
        cluster.run(host, "stat -c %a ~/.ray/auth_token; cat ~/.ray/auth_token")
        for host in (LAUNCHER, "head", "one", "two")
    }
    assert re.fullmatch(r"600\n[0-9a-f]{64}", token)
    head = cluster.addresses["head"]
    ask = f"ray status --address {head}:6379 2>&1 || echo refused"
    assert " 3 local.cluster.node" in cluster.run("one", f"RAY_AUTH_MODE=token timeout 60 {ask}")
    connect = shlex.quote(f"import ray; ray.init('ray://{head}:10001')")
    client = f"python -c {connect} 2>&1 || echo refused"
    for stranger in ("RAY_AUTH_MODE=disabled", f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={'0' * 64}"):
        said = cluster.run("one", f"{stranger} timeout 15 {ask}")
        assert "Authentication token is missing or incorrect" in said
        assert said.splitlines()[-1] == "refused"
        assert cluster.run("one", f"{stranger} timeout 30 {client}").splitlines()[-1] == "refused"
    outside = cluster.run("one", f"timeout 5 bash -c '</dev/tcp/{head}/8265' 2>&1 || echo refused")
    assert outside.splitlines()[-1] == "refused", "the dashboard answers on the head alone"


def test_a_search_over_two_hosts_goes_on_when_one_is_switched_off(cluster: Lab) -> None:
    with submit(cluster, "host", f"{SEARCH} --data {SHARED}/digits --name host --trials 4") as search:
        found = search.until("trial on each host", lambda _: all(trains(cluster, host) for host in ("one", "two")))
        before = epochs(found)
        search.until("four epochs", lambda found: epochs(found) >= before + 4)
        cluster.kill("two")
        assert search.end() == 0, search.said
    found = records(cluster, "host")
    assert [record.state for record in found] == ["complete"] * 4
    assert all([epoch["epoch"] for epoch in record.epochs] == list(range(1, EPOCHS + 1)) for record in found)
    assert sum(record.attempts > 1 for record in found) == 1
    assert (cluster.shared / "results/host/report/index.html").is_file()
    written = [file for file in (cluster.shared / "results").rglob("*") if file.is_file()]
    assert not [file for file in written if file.stat().st_mode & 0o111], "nobody executes what nodes have written"


def test_a_head_is_lost_with_its_disk_and_another_goes_on_from_a_bucket(cluster: Lab) -> None:
    """The hosts share only the bucket; only the head sees the images."""
    cluster.boot("two")
    on_launcher(cluster, f"from tests.buckets import make_bucket; make_bucket('{BUCKET.partition('//')[2]}')")
    give_images(cluster)
    flags = f"{SEARCH} --data /root/digits --name head --trials 4 --out {BUCKET}/results"
    with submit(cluster, "head", flags) as search:
        before = in_bucket(cluster, "head")
        cluster.kill("head")
        search.end()
    assert any(record["state"] == "running" for record in before), "or nothing is left to go on with"
    cluster.replace("head")
    give_images(cluster)
    down(cluster)  # or the launcher would take the new head for the old one
    up(cluster)
    with submit(cluster, "head", f"--resume {BUCKET}/results/head") as search:
        assert search.end() == 0, search.said
    found = in_bucket(cluster, "head")
    assert [record["state"] for record in found] == ["complete"] * 4
    assert all([epoch["epoch"] for epoch in record["epochs"]] == list(range(1, EPOCHS + 1)) for record in found)
    for record in before:
        if record["state"] == "complete":
            assert found[record["number"]] == record


def give_images(lab: Lab) -> None:
    lab.run("head", f"cp -r {SHARED}/digits /root/digits")


def on_launcher(lab: Lab, code: str, *arguments: str) -> str:
    command = shlex.join(["python", "-W", "ignore", "-c", code, *arguments])
    return lab.run(LAUNCHER, f"export {' '.join(bucket_environment(lab))} && cd {ROOT} && {command}")


def in_bucket(lab: Lab, name: str) -> list[dict[str, Any]]:
    """The records of an experiment as the laptop sees them, once one of them is complete."""
    found: list[dict[str, Any]] = json.loads(on_launcher(lab, RECORDS, f"{BUCKET}/results/{name}").splitlines()[-1])
    return found


def trains(lab: Lab, host: str) -> bool:
    return lab.run(host, f"pgrep -c -f '{TRIAL}' || true").strip() == "1"


def records(lab: Lab, name: str) -> list[TrialRecord]:
    """Return the trials of a search with its results in the shared folder."""
    file = lab.shared / "results" / name / "study.db"
    return records_in(file, name) if file.exists() else []


def epochs(records: list[TrialRecord]) -> int:
    return sum(len(record.epochs) for record in records)
