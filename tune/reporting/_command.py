"""The command that runs a search again."""

import shlex
from typing import Any

from tune.settings import Settings

PLACES = ("out", "name", "storage", "address", "cache")
"""Where a search ran and what it was called, not what it was asked."""


def command(settings: Settings) -> str:
    """`toprung search` with every setting that is not the default; data, recipes and seed always."""
    words = ["toprung", "search"]
    defaults = Settings.model_validate({})
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if name == "set":
            words += [word for key, text in value.items() for word in ("--set", f"{key}={text}")]
        elif value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif name in ("data", "recipes", "seed") or (name not in PLACES and value != getattr(defaults, name)):
            words += [f"--{name.replace('_', '-')}", _text(value)]
    return shlex.join(words)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
