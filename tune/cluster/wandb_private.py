"""Everything that is not W&B's public interface: no other module may touch it.

A release of W&B may change each of these without notice. `tests/tune/cluster/test_wandb_private.py` holds each of them
against the installed W&B, which is imported late here, as it takes time.
"""

from typing import TypedDict

RUN_VARIABLES = ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SERVICE")
"""Variables that an agent, or a process with a run of its own, gives to its children: they would turn all runs of the
children into that one. W&B documents some of them only."""


class RunSettings(TypedDict):
    """Settings of `wandb.Settings` that W&B marks as experimental by an x."""

    x_disable_stats: bool
    x_disable_meta: bool
    x_save_requirements: bool
    x_transaction_log_flush_interval: float
    x_graphql_retry_wait_min_seconds: float
    x_graphql_retry_wait_max_seconds: float
    x_file_stream_retry_wait_min_seconds: float
    x_file_stream_retry_wait_max_seconds: float
    x_file_transfer_retry_wait_min_seconds: float
    x_file_transfer_retry_wait_max_seconds: float


def run_settings(*, flush_s: float, retry_after_s: tuple[float, float]) -> RunSettings:
    """Return the experimental settings of a run that sends its metrics alone, and nothing about the machine.

    Args:
        flush_s: seconds after which the run's file is written.
        retry_after_s: seconds before the client retries: the first pause and the longest. It takes only whole numbers.
    """
    first, longest = retry_after_s
    return {
        "x_disable_stats": True,
        "x_disable_meta": True,
        "x_save_requirements": False,
        "x_transaction_log_flush_interval": flush_s,
        "x_graphql_retry_wait_min_seconds": first,
        "x_graphql_retry_wait_max_seconds": longest,
        "x_file_stream_retry_wait_min_seconds": first,
        "x_file_stream_retry_wait_max_seconds": longest,
        "x_file_transfer_retry_wait_min_seconds": first,
        "x_file_transfer_retry_wait_max_seconds": longest,
    }


def key_of_login(server: str) -> str | None:
    """Return the key that `wandb login` has kept for a server. `wandb.login` would ask a person for one."""
    from wandb.sdk.lib.wbauth import read_netrc_auth

    return read_netrc_auth(host=server)


def fault_of_key(key: str) -> str | None:
    """Return what is wrong with the form of a key; None if nothing is. Only the server could say more."""
    from wandb.sdk.lib.wbauth import check_api_key

    return check_api_key(key)
