"""Everything that is not Ray's public interface: no other module may touch it.

A release of Ray may change each of these without notice. `tests/tune/cluster/test_ray_private.py` and
`tests/cluster/test_nodes.py` hold each of them against the installed Ray.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ray._private import ray_constants
from ray._private.state import state
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined] # its stub lacks them
from ray.core.generated import common_pb2

NodeTypes = Mapping[str, Mapping[str, Any]]
"""Node types of a cluster by name, as in its file."""


def startable_nodes() -> list[dict[str, float]]:
    """Return the resources of each node that the connected cluster's autoscaler can run.

    Ray's public interface knows the nodes that run, not those that could.
    """
    config = state.get_cluster_config()
    groups = config.node_group_configs if config is not None else ()
    return [dict(group.resources) for group in groups for _ in range(group.max_count)]


def died_with_its_node(error: Exception | None) -> bool:
    """Return True if Ray says that an actor was lost with its node, given the actor's error.

    The error itself has no field for this, only words; Ray's table of actors has one.
    """
    actor = getattr(error, "actor_id", None)
    if not actor:
        return False
    cause = state.actor_table(actor).get("DeathCause")
    lost: int = common_pb2.ActorDiedErrorContext.NODE_DIED  # type: ignore[attr-defined] # made by protobuf, without a stub
    return cause is not None and lost == cause.actor_died_error_context.reason


@contextmanager
def listening_on_loopback() -> Iterator[None]:
    """Make a Ray that is started meanwhile listen only on 127.0.0.1, as it always does on macOS and Windows.

    Elsewhere Ray listens on all addresses. It has no option against this: it replaces 127.0.0.1 by an outer address.
    """
    with_others = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = with_others


def read_environment() -> None:
    """Have Ray read the environment again: Ray reads its settings and its token only once, and may have done so."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def keeping_keys() -> Iterator[None]:
    """Keep Ray Tune from passing the driver's AWS keys to workers, through an option that Ray writes into its logs.

    On this machine workers inherit the keys, and on a cluster every node has its own.
    """
    from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE  # late: it imports Ray Tune

    keys = {name for name in ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    ENV_VARS_TO_PROPAGATE.difference_update(keys)
    try:
        yield
    finally:
        ENV_VARS_TO_PROPAGATE.update(keys)


def launcher_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return a cluster's file, completed as `ray up` completes it. Ray has no command that only checks a file.

    Raises:
        Exception: of any kind, if the launcher does not take the file.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(config)
    validate_config(prepared)
    return prepared


def kubernetes_node_types(cluster: dict[str, Any]) -> NodeTypes:
    """Return the node types of a RayCluster, as Ray's autoscaler reads them.

    Raises:
        Exception: of any kind, if the autoscaler does not take the file.
    """
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    types: NodeTypes = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    return types


def aws_node_types(prepared: dict[str, Any]) -> NodeTypes:
    """Return the node types of a completed file with the resources that the launcher asks EC2 for.

    Raises:
        ValueError: the region has no such instance type.
        Exception: EC2 cannot be asked.
    """
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    types: NodeTypes = AWSNodeProvider.fillout_available_node_types_resources(prepared)["available_node_types"]
    return types
