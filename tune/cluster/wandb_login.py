"""The W&B login of this machine."""

from dataclasses import dataclass

import wandb

from search_spaces import InputError
from tune.cluster.wandb_private import fault_of_key, key_of_login


@dataclass(frozen=True)
class Login:
    """W&B's state from the environment and `wandb login`: the mode, the server, and whether there is a key for it."""

    mode: str
    url: str
    known: bool


def login() -> Login:
    """Return the login of this machine.

    Raises:
        InputError: the login is not valid, for example because its key is too short.
    """
    try:
        given = wandb.setup().settings
        key = given.api_key or key_of_login(given.base_url)
        if key and (problem := fault_of_key(key)):
            raise ValueError(problem.rstrip("."))
        return Login(given.mode, given.base_url, bool(key))
    except (ValueError, wandb.Error) as error:
        raise InputError(f"W&B cannot be used: {str(error).strip().splitlines()[0]}") from None
    finally:
        wandb.teardown()


def require_login() -> Login:
    """Return the login of this machine, and refuse to begin what W&B would not accept.

    Raises:
        InputError: there is no login, or no valid one.
    """
    found = login()
    if not found.known:
        raise InputError(
            "W&B: there is no login: wandb login, or WANDB_API_KEY; without one, --wandb offline writes runs into files"
        )
    return found
