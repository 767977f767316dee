"""The command that runs a search again."""

import shlex
from typing import Any

from tune.settings.groups import Mark
from tune.settings.preset import Preset, settings_with
from tune.settings.settings import Settings, marked

PLACES = ("name", *marked(Mark.PLACE))
"""Settings of a search's place and name; they do not change the search itself."""

ALWAYS = ("data", "recipes", "seed")
"""Settings that a reader wants to see, default or not."""


def command(settings: Settings, preset: Preset | None = None) -> str:
    """Return `toprung search` with all settings that differ from default or preset; data, recipes and seed always."""
    words = ["toprung", "search"]
    given = {"data": settings.data, "recipes": settings.recipes}
    defaults = Settings.model_validate(settings_with(preset, given) if preset else {})
    for name in Settings.model_fields:
        value = getattr(settings, name)
        flag = f"--{name.replace('_', '-')}"
        if name == "set":
            new = {key: text for key, text in value.items() if defaults.set.get(key) != text}
            words += [word for key, text in new.items() for word in (flag, f"{key}={text}")]
        elif name in ALWAYS or (name not in PLACES and value != getattr(defaults, name)):
            words += [flag] if value is True else [flag, setting_text(value)]
    return shlex.join(words)


def setting_text(value: Any) -> str:
    """Return the value of a setting as written after its flag."""
    if isinstance(value, tuple):
        return ",".join(map(setting_text, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)
