"""Whether W&B knows who this is."""

from dataclasses import dataclass

import wandb
from wandb.sdk.lib import wbauth
from wandb.sdk.lib.wbauth.validation import check_api_key

from search_spaces import InputError


@dataclass(frozen=True)
class Login:
    """What the environment and `wandb login` have left: the mode, the server, and whether there is a key for it."""

    mode: str
    url: str
    known: bool


def login() -> Login:
    """What this machine says.

    Raises:
        InputError: what it says is not valid, such as a key that is too short.
    """
    try:
        given = wandb.setup().settings
        key = given.api_key or wbauth.read_netrc_auth(host=given.base_url)
        if key and (problem := check_api_key(key)):
            raise ValueError(problem.rstrip("."))
        return Login(given.mode, given.base_url, bool(key))
    except (ValueError, wandb.Error) as error:
        raise InputError(f"W&B cannot be used: {str(error).strip().splitlines()[0]}") from None
    finally:
        wandb.teardown()


def require_login() -> Login:
    """Refuse to begin what W&B would not take; else what this machine says.

    Raises:
        InputError: there is no login, or none that is valid.
    """
    found = login()
    if not found.known:
        raise InputError(
            "W&B: there is no login: wandb login, or WANDB_API_KEY; without one, --wandb offline writes runs into files"
        )
    return found
