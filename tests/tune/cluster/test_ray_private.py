"""Ray's private interfaces that the project uses, held against the installed Ray.

Nodes that an autoscaler can run are in tests/integration/test_cluster.py, an actor that dies with its node is in
tests/cluster/test_nodes.py, and Ray's launcher is in test_cluster_file.py.
"""

from pathlib import Path

import pytest
import ray
from ray._private import services
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
from ray.tune.execution.class_cache import _ActorClassCache

from tune.cluster.ray_private import died_with_its_node, keeping_keys, listening_on_loopback, read_environment
from tune.cluster.ray_session import ENVIRONMENT

READERS = (
    "_common/usage/usage_constants.py", "_private/accelerators/accelerator.py", "_private/worker.py",
    "train/constants.py", "tune/execution/tune_controller.py", "tune/experimental/output.py", "tune/tune.py",
    "tune/utils/callback.py",
)  # fmt: skip
"""The modules of Ray that read the variables set by a search."""


@pytest.mark.parametrize("variable", [*ENVIRONMENT, "TUNE_MAX_PENDING_TRIALS_PG"])
def test_ray_reads_the_variables_that_a_search_sets(variable: str) -> None:
    assert any(f'"{variable}"' in (Path(ray.__file__).parent / reader).read_text() for reader in READERS)


def passed_on() -> set[str]:
    """The variables that Ray Tune passes to a trainable's workers."""

    class Nothing:
        pass

    return set(_ActorClassCache().get(Nothing)._default_options["runtime_env"]["env_vars"])


def test_keys_are_not_passed_to_workers_but_all_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    for name in (*keys, "RAY_CHDIR_TO_TRIAL_DIR"):
        monkeypatch.setenv(name, "0")
    before = passed_on()
    assert keys < before, "Ray no longer passes keys on, so that nothing has to keep it from that"
    with keeping_keys():
        assert passed_on() == before - keys
        assert "RAY_CHDIR_TO_TRIAL_DIR" in passed_on()
    assert passed_on() == before


def test_ray_can_be_made_to_listen_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.worker._global_node", None)
    monkeypatch.setattr(services, "node_ip_address_from_perspective", lambda address: "192.0.2.1")
    with listening_on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1"
    assert services.get_node_ip_address() == "192.0.2.1"


def test_ray_can_be_made_to_read_its_token_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def header() -> dict[str, str]:
        return dict(AuthenticationTokenLoader.instance().get_token_for_http_header())

    try:
        for token in ("a" * 64, "b" * 64):
            with monkeypatch.context() as patch:
                patch.setenv("RAY_AUTH_MODE", "token")
                patch.setenv("RAY_AUTH_TOKEN", token)
                read_environment()
                assert token in "".join(header().values())
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        read_environment()
        assert header() == {}
    finally:
        monkeypatch.undo()
        read_environment()


@pytest.mark.parametrize("error", [None, ValueError("its node has died"), ray.exceptions.RayActorError()])
def test_an_error_without_an_actor_says_nothing_of_its_node(error: Exception | None) -> None:
    assert not died_with_its_node(error)
