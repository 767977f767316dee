"""Checks of a cluster's file before an error costs minutes. Ray's own launcher reads the file and starts nothing."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from search_spaces import InputError
from tune.cluster.machine import Finding, port
from tune.cluster.ray_private import NodeTypes, aws_node_types, kubernetes_node_types, launcher_config
from tune.cluster.ray_session import log_to
from tune.cluster.resources import Node, allot
from tune.settings.settings import Settings

PLACEHOLDER = re.compile(r"EDIT-[\w-]+")

COMMANDS = (
    "initialization_commands", "head_setup_commands", "worker_setup_commands", "head_start_ray_commands",
    "worker_start_ray_commands",
)  # fmt: skip
"""Keys of the commands in a file completed by Ray, which adds all nodes' commands to the head's and the workers'."""

CLIENTS = {"aws": ("boto3", "boto3"), "gcp": ("googleapiclient", "google-api-python-client cryptography")}
"""The module that Ray's launcher imports for a provider, and the packages that provide it."""

TOKEN, MAKE_TOKEN = "auth_token", "(umask 077; ray get-auth-token --generate)"
"""The name of Ray's token file, and the command that makes one."""

PROGRAMS = ("ssh", "rsync")
"""The programs that Ray's launcher runs."""


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """The machine that a cluster is started from.

    Attributes:
        which: returns the path of a program, if it is there.
        find_spec: returns a module's description, if it is there.
        dashboard_port: the port where `ray dashboard` makes its tunnel.
        connect_timeout_s: seconds for a connection to EC2.
        answer_timeout_s: seconds for each answer; a region's machine types take about ten answers.
    """

    which: Callable[[str], str | None] = shutil.which
    find_spec: Callable[[str], object | None] = find_spec
    dashboard_port: int = 8265
    connect_timeout_s: float = 3.0
    answer_timeout_s: float = 10.0


def examine_file(file: Path, settings: Settings, launcher: Launcher = Launcher()) -> Iterator[Finding]:
    """Check a file for `ray up`, or a RayCluster for Kubernetes, and check that a trial fits on the nodes it starts.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(
            f"{file}: cannot be read: {reason}; give a cluster's YAML file, such as cluster.yaml"
        ) from None
    try:
        documents = [each for each in yaml.safe_load_all(text) if isinstance(each, dict)]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        yield Finding("error", "file", f"{file} is not YAML: {getattr(error, 'problem', error)}{place}")
        return
    yield from _placeholders(file, text)
    pods = [each for each in documents if each.get("kind") == "RayCluster"]
    if pods:
        yield from _kubernetes(file, pods[0], settings)
    elif any("provider" in each for each in documents):
        yield from _launcher(file, documents[0], settings, launcher)
    else:
        yield Finding("error", "file", f"{file} starts no cluster: it has neither a provider nor a RayCluster")


def _placeholders(file: Path, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        if left := PLACEHOLDER.search(line):
            yield Finding("error", "to edit", f"{file}, line {number}: put your own in place of {left[0]}")


def _kubernetes(file: Path, cluster: dict[str, Any], settings: Settings) -> Iterator[Finding]:
    cluster["metadata"] = {"namespace": "default", **(cluster.get("metadata") or {})}
    try:
        types = kubernetes_node_types(cluster)
    except Exception as error:  # Ray may raise any kind of error on a bad file
        yield Finding("error", "file", f"{file}: {_reason(error)}")
        return
    yield Finding("ok", "file", f"{file}: Ray's autoscaler reads it")
    yield _request(types, settings)


def _launcher(file: Path, config: dict[str, Any], settings: Settings, launcher: Launcher) -> Iterator[Finding]:
    try:
        with log_to(Path(os.devnull)):
            prepared = launcher_config(config)
    except Exception as error:  # Ray may raise any kind of error on a bad file
        yield Finding("error", "file", f"{file}: {_reason(error)}")
        return
    yield Finding("ok", "file", f"{file}: Ray's launcher takes it")
    yield from _commands(prepared, launcher)
    yield from _mounts(prepared)
    yield _tools(str(prepared["provider"]["type"]), launcher)
    yield port(launcher.dashboard_port, "ray dashboard needs another one: --port")
    yield _launched(file, prepared, settings, launcher)


def _reason(error: Exception) -> str:
    """Return a file reader's error in one line: validators quote the whole file, and a KeyError says only the key."""
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    path = ".".join(map(str, getattr(error, "absolute_path", ())))  # only jsonschema's errors have it
    said = str(getattr(error, "message", None) or error).strip() or type(error).__name__
    return f"{path}: {said.splitlines()[0][:200]}".removeprefix(": ")


def _commands(prepared: Mapping[str, Any], launcher: Launcher) -> Iterator[Finding]:
    """Check that bash can parse each command, because the launcher runs them with bash."""
    lists = [prepared, *prepared["available_node_types"].values()]
    commands = {command: None for each in lists for key in COMMANDS for command in each.get(key) or ()}
    if launcher.which("bash") is None:
        return
    faults = []
    for command in commands:
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines()[0].rpartition(": ")[2]
            faults.append(Finding("error", "commands", f"{command[:80]!r} is no shell command: {said}"))
    yield from faults or [Finding("ok", "commands", f"{len(commands)}, which a shell can read")]


def _mounts(prepared: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that this machine has the files that the launcher sends, and its SSH key."""
    files = {f"file_mounts of {there}": here for there, here in (prepared.get("file_mounts") or {}).items()}
    if key := prepared["auth"].get("ssh_private_key"):
        files["ssh_private_key"] = key
    for what, path in files.items():
        if not Path(path).expanduser().exists():
            way = f": {MAKE_TOKEN}" if Path(path).name == TOKEN else ""
            yield Finding("error", "files", f"{what}: there is no {Path(path).expanduser().absolute()} here{way}")


def _tools(provider: str, launcher: Launcher) -> Finding:
    missing = [f"install {program}" for program in PROGRAMS if launcher.which(program) is None]
    module, packages = CLIENTS.get(provider, ("", ""))
    if module and launcher.find_spec(module) is None:
        missing.append(f"pip install {packages}")
    if missing:
        return Finding("error", "ray up", f"lacks on this machine what it runs: {'; '.join(missing)}")
    return Finding("ok", "ray up", f"finds {', '.join((*PROGRAMS, *([module] if module else [])))}")


def _request(types: NodeTypes, settings: Settings) -> Finding:
    """Check that a trial fits on a node of these types, whose resources are known."""
    nodes: list[Node] = []
    for node_type in types.values():
        nodes += [{"GPU": 0.0, **node_type["resources"]}] * max(1, node_type.get("max_workers", 1))
    try:
        allotted = allot(settings, [], nodes or [{"CPU": 0.0}])
    except InputError as error:
        return Finding("error", "a trial", str(error))
    return Finding("ok", "a trial", f"gets {allotted}")


def _launched(file: Path, prepared: dict[str, Any], settings: Settings, launcher: Launcher) -> Finding:
    """Check that a trial fits on a node that the launcher starts, by the resources in the file or from the cloud."""
    types, provider = prepared["available_node_types"], prepared["provider"]["type"]
    unknown = [_named(name, each) for name, each in types.items() if "CPU" not in (each.get("resources") or {})]
    if not unknown:
        return _request(types, settings)
    names, give = ", ".join(unknown), "say so in the file, such as resources: {CPU: 8, GPU: 1}"
    if provider == "local":
        why, way = "what the machines have is seen once Ray runs there", f"then ray exec {file} 'toprung doctor'"
    elif provider == "aws" and launcher.find_spec("boto3") is None:
        why, way = f"EC2 can be asked what {names} has by boto3 alone", f"pip install boto3, or {give}"
    elif provider != "aws":
        why, way = f"Ray does not look up what {names} has", give
    else:
        try:
            return _request(_asked_of_ec2(prepared, launcher), settings)
        except ValueError as error:  # Ray raises it for a type that the region does not have
            return Finding("error", "a trial", f"{str(error).rstrip('.')}; give another InstanceType, or region")
        except Exception as error:  # boto3 is missing, or the login, the network or EC2 fails
            why, way = f"EC2 cannot be asked what {names} has: {_reason(error)}", f"log in by aws configure, or {give}"
    return Finding("warning", "a trial", f"it is not known whether a trial fits, as {why}; {way}")


def _named(name: str, node_type: Mapping[str, Any]) -> str:
    """Return a node type's name, with its cloud machine type in parentheses if the file states one."""
    config = node_type.get("node_config") or {}
    machine = config.get("InstanceType") or config.get("machineType")
    return f"{name} ({machine})" if machine else name


def _asked_of_ec2(prepared: dict[str, Any], launcher: Launcher) -> NodeTypes:
    """Return the node types with the resources that Ray's launcher looks up, using the login that it finds by itself.

    Raises:
        ValueError: the region has no such instance type.
        Exception: EC2 cannot be asked.
    """
    from botocore.config import Config
    from botocore.exceptions import NoCredentialsError
    from botocore.session import get_session

    # By itself, Ray would try 13 times, a minute each. The login may need a request too, as with single sign-on.
    hasty = Config(
        connect_timeout=launcher.connect_timeout_s,
        read_timeout=launcher.answer_timeout_s,
        retries={"total_max_attempts": 2},
    )
    login = prepared["provider"].get("aws_credentials")
    if not login:
        session = get_session()
        session.set_default_client_config(hasty)
        session.get_component("credential_provider").remove("iam-role")  # outside EC2, it waits in vain for an answer
        found = session.get_credentials()
        if found is None:
            raise NoCredentialsError
        keys = found.get_frozen_credentials()
        login = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_session_token": keys.token,
        }
    provider = {**prepared["provider"], "aws_credentials": {**login, "config": hasty}}
    return aws_node_types({**prepared, "provider": provider})
