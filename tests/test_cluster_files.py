"""The cluster files, and the commands of docs/cluster.md.

Ray's own code reads them, and moto answers in place of AWS: no cloud is reached, no credentials are needed, and no Ray
is started.
"""

import copy
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_cli

from tune.cli import command_parser

ROOT = Path(__file__).parent.parent
CLOUDS = ("cluster.yaml", "cluster/gcp.yaml")
FILES = ["cluster.yaml", *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "cluster").iterdir()))]
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
COMMANDS = ("setup_commands", "head_setup_commands", *STARTS)

Config = dict[str, Any]


@pytest.fixture(params=CLOUDS)
def config(request: pytest.FixtureRequest) -> Config:
    return read(request.param)


def read(name: str) -> Config:
    loaded = yaml.safe_load((ROOT / name).read_text())
    assert isinstance(loaded, dict)
    return loaded


def pinned(package: str) -> str:
    (version,) = re.findall(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return str(version)


# Ray's cluster launcher


def test_the_launcher_takes_it(config: Config) -> None:
    validate_config(prepare_config(config))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("worker_count", 3),
        ("max_workers", "many"),
        ("setup_commands", [{"run": "pip install ray"}]),
        ("auth", {"user": "ubuntu"}),
        ("head_node_type", "none"),
    ],
)
def test_the_launcher_refuses_it_when_spoilt(config: Config, key: str, value: object) -> None:
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate_config(prepare_config({**config, key: value}))


def test_trials_run_on_workers_alone_which_come_and_go(config: Config) -> None:
    prepared = prepare_config(config)
    head, gpu = (prepared["available_node_types"][kind] for kind in (config["head_node_type"], "gpu"))
    assert head["resources"] == {"CPU": 0}
    assert head["max_workers"] == 0
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, config["max_workers"])
    assert 0 < config["idle_timeout_minutes"] < 60
    assert config["provider"]["cache_stopped_nodes"] is False, "what is down is gone, and costs nothing"


def test_what_is_mounted_is_what_is_installed(config: Config) -> None:
    token = "~/.ray/auth_token"
    assert config["file_mounts"] == {"~/toprung": ".", token: token}
    (install,) = (command for command in config["setup_commands"] if "--editable" in command)
    words = shlex.split(install)
    assert words[words.index("--editable") + 1] == "~/toprung[cluster]"
    for command in config["setup_commands"] + config["head_setup_commands"]:
        if "uv pip install" in command:
            assert "--constraint ~/toprung/constraints.txt" in command
            assert "--python ~/.toprung/bin/python" in command


@pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync, as the launcher does")
def test_the_sources_are_synced_and_nothing_else(config: Config, tmp_path: Path) -> None:
    from ray.autoscaler._private.command_runner import SSHCommandRunner

    sources = {
        "pyproject.toml",
        "constraints.txt",
        "tune/run.py",
        "trainables/data/load.py",
        "tests/trainables/data/shards.py",
    }
    rest = {".git/HEAD", ".venv/bin/python", "results/a/study.db", "data/cifar10/x", "tune/__pycache__/run.pyc"}
    here, there = tmp_path / "here", tmp_path / "there"
    for name in sources | rest:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
    (here / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    filters = SSHCommandRunner._create_rsync_filter_args(None, config)
    subprocess.run(["rsync", "-a", *filters, f"{here}/", f"{there}/"], check=True)
    assert {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()} == {
        ".gitignore",
        *sources,
    }


@pytest.mark.parametrize("name", [*CLOUDS, "cluster/on-prem.yaml"])
def test_every_node_asks_for_the_token_that_it_gets(name: str) -> None:
    """Ray refuses to start without a token; the token is on the laptop and in none of these files."""
    config = read(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    (shell,) = (command for command in config["setup_commands"] if "> ~/.toprung.sh" in command)
    assert "export" in shell
    assert " RAY_AUTH_MODE=token " in shell
    assert "ray get-auth-token --generate" in (ROOT / name).read_text()


def test_every_command_is_a_shell_command(config: Config) -> None:
    for command in (each for key in COMMANDS for each in config[key]):
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_ray_is_started_as_this_version_knows_it(config: Config) -> None:
    head, worker = (ray_start(config[key]) for key in STARTS)
    assert head["head"]
    assert head["dashboard_host"] == "127.0.0.1"
    assert head["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
    assert worker["address"] == f"$RAY_HEAD_IP:{head['port']}"


def ray_start(commands: list[str]) -> Config:
    """The options of the one `ray start` among commands."""
    (words,) = (shlex.split(part) for command in commands for part in command.split(";") if "ray start" in part)
    return ray_options(words)


def ray_options(words: list[str]) -> Config:
    """Parse a command's options as the installed Ray does; an unknown option exits."""
    (name, *rest), command, context = words[1:], ray_cli, None
    command = ray_cli.commands[name]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(name, rest)
    return dict(context.params)


def test_the_shell_of_the_head_names_cluster_and_results(config: Config, tmp_path: Path) -> None:
    """The setup commands run in an empty home, which is then read as the launcher's login shells read it."""
    writes = [
        command
        for command in config["setup_commands"] + config["head_setup_commands"]
        if re.search(r">> ~/\.bashrc|> ~/\.toprung\.sh", command)
    ]
    for _ in range(2):  # as `ray up` does again
        for command in writes:
            run_in(tmp_path, command)
    told = run_in(tmp_path, "echo $RAY_ADDRESS $RAY_AUTH_MODE $TOPRUNG_OUT ${PATH%%:*}").split()
    bucket = {"aws": "s3", "gcp": "gs"}[config["provider"]["type"]] + "://EDIT-my-bucket"
    assert told == ["auto", "token", f"{bucket}/results", f"{tmp_path}/.toprung/bin"]
    assert (tmp_path / ".bashrc").read_text().count("toprung.sh") == 1


def run_in(home: Path, command: str) -> str:
    (home / ".bashrc").touch()
    done = subprocess.run(
        ["bash", "-c", f"source ~/.bashrc; {command}"],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_what_a_person_must_edit_is_marked() -> None:
    marked = {
        name: [line for line in (ROOT / name).read_text().splitlines() if re.search(r"EDIT-\w", line)] for name in FILES
    }
    assert {name: len(lines) for name, lines in marked.items() if lines} == {
        "cluster.yaml": 1,
        "cluster/gcp.yaml": 3,
        "cluster/kuberay.yaml": 1,
        "cluster/kuberay-storage.yaml": 1,
    }


# AWS, answered by moto


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def aws(home: Path) -> Iterator[Config]:
    """cluster.yaml as Ray's launcher completes it in an account that has cluster/aws-account.yaml's profiles."""
    import boto3
    from moto import mock_aws
    from ray.autoscaler._private.aws import config as launcher
    from ray.autoscaler._private.aws import node_provider, utils
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    def instances(region: str, credentials: None) -> list[Config]:
        # all thousand types of a region take moto ten seconds
        types = [node["node_config"]["InstanceType"] for node in read("cluster.yaml")["available_node_types"].values()]
        return list(boto3.client("ec2", region).describe_instance_types(InstanceTypes=types)["InstanceTypes"])

    caches = (utils.resource_cache, utils.client_cache, launcher._get_subnets_or_die)
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))  # the launcher writes the new key to ~/.ssh
        patch.setattr(node_provider, "list_ec2_instances", instances)
        iam = boto3.client("iam")
        for profile in of_type("AWS::IAM::InstanceProfile"):
            iam.create_instance_profile(InstanceProfileName=profile["InstanceProfileName"])
        config = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(read("cluster.yaml")))
        validate_config(config)
        yield AWSNodeProvider.bootstrap_config(config)
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(scope="module")
def machines(aws: Config) -> dict[str, Any]:
    """A head and a worker, as EC2 describes them."""
    import boto3
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    provider = AWSNodeProvider(aws["provider"], aws["cluster_name"])
    ec2 = boto3.resource("ec2", aws["provider"]["region"])
    made = {}
    for kind, node_type in aws["available_node_types"].items():
        extra = aws["head_node"] if kind == aws["head_node_type"] else {}
        tags = {"ray-node-type": kind, "ray-launch-config": kind}
        (identity,) = provider.create_node({**extra, **node_type["node_config"]}, tags, 1)
        made[kind] = ec2.Instance(identity)
    return made


class _Template(yaml.SafeLoader):
    """Reads CloudFormation's short forms, such as !Ref, as lists of the form and its value."""


_Template.add_multi_constructor("!", lambda loader, form, node: [form, loader.construct_scalar(node)])


def of_type(kind: str) -> list[Config]:
    """The properties of the resources of a type in cluster/aws-account.yaml."""
    template = yaml.load((ROOT / "cluster/aws-account.yaml").read_text(), _Template)
    return [each["Properties"] for each in template["Resources"].values() if each["Type"] == kind]


@pytest.mark.slow
def test_the_head_is_on_demand_and_workers_are_spot(machines: dict[str, Any]) -> None:
    assert machines["head"].instance_lifecycle is None
    assert machines["gpu"].instance_lifecycle == "spot"


@pytest.mark.slow
def test_each_machine_may_do_what_its_profile_says(machines: dict[str, Any]) -> None:
    assert {kind: each.iam_instance_profile["Arn"].split("/")[-1] for kind, each in machines.items()} == {
        "head": "toprung-head",
        "gpu": "toprung-worker",
    }
    assert {kind: each.metadata_options["HttpTokens"] for kind, each in machines.items()} == dict.fromkeys(
        machines, "required"
    )


@pytest.mark.slow
def test_the_key_pair_is_new_and_yours_alone(aws: Config, machines: dict[str, Any], home: Path) -> None:
    key = Path(aws["auth"]["ssh_private_key"])
    assert key.parent == home / ".ssh"
    assert key.stat().st_mode & 0o777 == 0o600
    assert {each.key_name for each in machines.values()} == {key.stem}


@pytest.mark.slow
def test_nothing_but_ssh_is_open_from_outside(machines: dict[str, Any]) -> None:
    for machine in machines.values():
        (group,) = machine.security_groups
        rules = machine.meta.client.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"][0]
        for rule in rules["IpPermissions"]:
            if rule["IpRanges"] or rule["Ipv6Ranges"] or rule["PrefixListIds"]:
                assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
            assert {pair["GroupId"] for pair in rule["UserIdGroupPairs"]} <= {group["GroupId"]}


@pytest.mark.slow
def test_ray_finds_the_gpu_of_the_instance_type(aws: Config) -> None:
    resources = {kind: node["resources"] for kind, node in aws["available_node_types"].items()}
    assert resources["gpu"]["GPU"] == 1
    assert resources["gpu"]["CPU"] == 8
    assert "GPU" not in resources["head"]
    assert resources["head"]["CPU"] == 0


@pytest.mark.slow
def test_a_machine_that_shuts_down_is_gone(machines: dict[str, Any]) -> None:
    behavior = machines["head"].describe_attribute(Attribute="instanceInitiatedShutdownBehavior")
    assert behavior["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


def test_the_roles_reach_the_bucket_and_the_head_passes_on_the_workers_role_alone() -> None:
    head, worker = (
        next(role for role in of_type("AWS::IAM::Role") if role["RoleName"] == name)
        for name in ("toprung-head", "toprung-worker")
    )
    assert head["ManagedPolicyArns"] == worker["ManagedPolicyArns"] == [["Ref", "UseBucket"]]
    assert "Policies" not in worker
    statements = head["Policies"][0]["PolicyDocument"]["Statement"]
    (passed,) = (each["Resource"] for each in statements if each["Action"] == "iam:PassRole")
    assert passed == ["GetAtt", "WorkerRole.Arn"]
    assert not [each for each in statements if "*" in each["Action"]]


# Google Cloud; Ray needs its client for more than the checks below


def test_on_google_cloud_workers_alone_are_spot_and_leave_nothing() -> None:
    head, gpu = (node["node_config"] for node in read("cluster/gcp.yaml")["available_node_types"].values())
    assert "scheduling" not in head
    assert gpu["scheduling"]["provisioningModel"] == "SPOT"
    assert gpu["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert gpu["scheduling"]["onHostMaintenance"] == "TERMINATE", "Google refuses a GPU that it would have to move"
    assert all(disk["autoDelete"] for node in (head, gpu) for disk in node["disks"])


def test_on_google_cloud_project_and_zone_are_one() -> None:
    config = read("cluster/gcp.yaml")
    provider, nodes = config["provider"], [node["node_config"] for node in config["available_node_types"].values()]
    assert provider["availability_zone"].startswith(provider["region"])
    for disk in (disk for node in nodes for disk in node["disks"]):
        assert disk["initializeParams"]["diskType"].startswith(f"zones/{provider['availability_zone']}/")
    (account,) = (each["email"] for node in nodes for each in node.get("serviceAccounts", []))
    assert account == f"toprung-worker@{provider['project_id']}.iam.gserviceaccount.com"


# Kubernetes


@pytest.fixture(scope="module")
def manifest() -> dict[str, Config]:
    """The objects of both files, by kind."""
    texts = [(ROOT / f"cluster/{name}.yaml").read_text() for name in ("kuberay", "kuberay-storage")]
    objects = [each for text in texts for each in yaml.safe_load_all(text)]
    assert [each["kind"] for each in objects] == ["RayCluster", "RayJob", "PersistentVolumeClaim"]
    return {each["kind"]: each for each in objects}


def test_rays_autoscaler_reads_the_cluster(manifest: dict[str, Config]) -> None:
    cluster = copy.deepcopy(manifest["RayCluster"])
    cluster["metadata"]["namespace"] = "default"
    types = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert "GPU" not in types["headgroup"]["resources"]
    assert {"CPU": 7, "GPU": 1}.items() <= types["gpu"]["resources"].items()
    assert types["gpu"]["min_workers"] == 0 < types["gpu"]["max_workers"]
    assert cluster["spec"]["enableInTreeAutoscaling"]


def test_the_manifest_has_no_field_that_kuberay_does_not_know(manifest: dict[str, Config]) -> None:
    """KubeRay would silently drop a misspelled field."""
    cluster, job = manifest["RayCluster"]["spec"], manifest["RayJob"]["spec"]
    assert set(cluster) <= {
        *("rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"),
        *("headServiceAnnotations", "suspend", "gcsFaultToleranceOptions", "managedBy", "authOptions"),
    }
    assert set(cluster["autoscalerOptions"]) <= {"idleTimeoutSeconds", "upscalingMode", "resources", "version", "env"}
    assert set(cluster["headGroupSpec"]) <= {"rayStartParams", "serviceType", "headService", "template"}
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= {
            *("groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template"),
            "idleTimeoutSeconds",
        }
    assert set(job) <= {
        *("entrypoint", "clusterSelector", "submissionMode", "runtimeEnvYAML", "metadata", "jobId", "backoffLimit"),
        *("submitterPodTemplate", "activeDeadlineSeconds", "suspend"),
    }
    assert {each["apiVersion"] for each in manifest.values()} == {"ray.io/v1", "v1"}


def test_every_pod_keeps_results_in_the_claim(manifest: dict[str, Config]) -> None:
    claim = manifest["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(manifest["RayCluster"]):
        (volume,), (container,) = pod["volumes"], pod["containers"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        (mount,) = container["volumeMounts"]
        assert mount["name"] == volume["name"]
        out = next(each["value"] for each in container["env"] if each["name"] == "TOPRUNG_OUT")
        assert out.startswith(mount["mountPath"] + "/")


def test_keys_come_from_a_secret_that_need_not_be_there(manifest: dict[str, Config]) -> None:
    for pod in pods(manifest["RayCluster"]):
        (key,) = (each for each in pod["containers"][0]["env"] if "KEY" in each["name"])
        assert "value" not in key
        assert key["valueFrom"]["secretKeyRef"] == {
            "name": "toprung-keys", "key": "WANDB_API_KEY", "optional": True,
        }  # fmt: skip


def test_the_operator_makes_a_token_in_a_secret_that_is_no_one_elses(manifest: dict[str, Config]) -> None:
    """The operator gives its secret the cluster's name, and would reuse an older secret of that name."""
    assert manifest["RayCluster"]["spec"]["authOptions"] == {"mode": "token"}
    named = re.findall(r"secretKeyRef: \{name: ([\w-]+)", (ROOT / "cluster/kuberay.yaml").read_text())
    assert named
    assert manifest["RayCluster"]["metadata"]["name"] not in named


def pods(cluster: Config) -> list[Config]:
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_the_job_is_a_search_on_that_cluster(manifest: dict[str, Config]) -> None:
    job = manifest["RayJob"]["spec"]
    assert job["clusterSelector"] == {"ray.io/cluster": manifest["RayCluster"]["metadata"]["name"]}
    program, *arguments = shlex.split(job["entrypoint"])
    assert program == "toprung"
    assert command_parser().parse_args(arguments).address == "auto"


def test_an_image_holds_no_more_than_a_node_is_sent() -> None:
    left_out = (ROOT / "cluster/Dockerfile.dockerignore").read_text().split()
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    assert {each.removeprefix("**/") for each in left_out} >= {".git", *ignored}


# all of them


def test_ray_and_python_are_the_same_everywhere(manifest: dict[str, Config]) -> None:
    ray = pinned("ray")
    assert manifest["RayCluster"]["spec"]["rayVersion"] == ray
    (image,) = re.findall(r"^FROM (.+)$", (ROOT / "cluster/Dockerfile").read_text(), re.MULTILINE)
    (python,) = {
        version for name in CLOUDS for version in re.findall(r"uv venv .*--python (\S+)", (ROOT / name).read_text())
    }
    major, minor, patch = python.split(".")  # Ray refuses a node of another patch version, too
    assert patch.isdigit()
    assert image == f"rayproject/ray:{ray}-py{major}{minor}-gpu"
    assert f'requires-python = ">={major}.{minor}"' in (ROOT / "pyproject.toml").read_text()


SECRETS = (
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    r"-----BEGIN",
    r"\b[0-9a-f]{32,}\b",
    r"\b(?=\w*\d)(?=\w*[a-z])(?=\w*[A-Z])\w{32,}\b",
    r"(?i)(secret|password|_token|api_?key)\w*['\"]?\s*[:=]\s*['\"]?(?!\s|\$|\"\$)\w{8,}",
)


def looks_secret(text: str) -> list[str]:
    return [match[0] for pattern in SECRETS for match in re.finditer(pattern, text)]


@pytest.mark.parametrize("name", [*FILES, "docs/cluster.md"])
def test_no_file_holds_a_secret(name: str) -> None:
    assert not looks_secret((ROOT / name).read_text())


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "Q" * 16,
        "aws_secret_access_key: " + "aB3" * 14,
        "WANDB_API_KEY=" + "0123456789abcdef" * 2 + "01234567",
        "password: correcthorse",
        "-----BEGIN" + " PRIVATE KEY-----",
    ],
)
def test_a_secret_would_be_seen(text: str) -> None:
    assert looks_secret(text)


# docs/cluster.md


def documented(program: str) -> list[list[str]]:
    """The commands of a program in docs/cluster.md, in words."""
    blocks = re.findall(r"(?:^    .+\n)+", (ROOT / "docs/cluster.md").read_text(), re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.split()[:1] == [program]]


def test_every_command_of_ray_in_the_guide_is_real() -> None:
    commands = documented("ray")
    assert {words[1] for words in commands} >= {"up", "submit", "down", "dashboard", "attach", "exec", "job"}
    for words in commands:
        ray_options(words)


def test_every_search_in_the_guide_is_real() -> None:
    searches = [words[words.index("--") + 1 :] for words in documented("ray") if words[1] == "submit"]
    jobs = [words[words.index("toprung") + 1 :] for words in documented("ray") if "toprung" in words]
    assert searches
    assert jobs
    for arguments in [*(["search", *each] for each in searches), *jobs]:
        command_parser().parse_args(arguments)


def test_every_file_in_the_guide_is_there() -> None:
    named = set(
        re.findall(r"\bcluster(?:/[\w.-]*\w)?\.yaml|cluster/Dockerfile", (ROOT / "docs/cluster.md").read_text())
    )
    assert named
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_the_guide_offers_the_machines_that_the_files_ask_for() -> None:
    text = (ROOT / "docs/cluster.md").read_text()
    for name, key in zip(CLOUDS, ("InstanceType", "machineType"), strict=True):
        for node_type in read(name)["available_node_types"].values():
            assert node_type["node_config"][key] in text
