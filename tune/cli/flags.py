"""Flags for settings: their declarations, and the values that a person gives by flags, files and presets."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from search_spaces import InputError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from tune.settings.settings import Settings


EXPERIMENT = "the folder of an experiment, or its URL"


def flag_of(name: str) -> str:
    """Return the flag of a setting: `max_epochs` is `--max-epochs`."""
    return "--" + name.replace("_", "-")


def add_output(command: argparse.ArgumentParser, default: str, content: str) -> None:
    """Add --output FILE to a command; `content` names what is written to the file."""
    command.add_argument(
        "--output",
        type=Path,
        default=Path(default),
        metavar="FILE",
        help=f"the file to write {content} to (default: {default})",
    )


def add_config(command: argparse.ArgumentParser) -> None:
    """Add --config FILE to a command."""
    command.add_argument(
        "--config", metavar="FILE", type=Path, help="read settings from this YAML file; flags override them"
    )


def add_flags(command: argparse.ArgumentParser, names: Collection[str]) -> None:
    """Add flags for settings to a command, in groups as its help shows them."""
    from tune.settings.settings import GROUPS

    for group in GROUPS:
        own = [name for name in group.model_fields if name in names]
        if own:
            section = command.add_argument_group(group.model_config["title"])
            for name in own:
                _add_flag(section, name, group.model_fields[name])


def _add_flag(section: "argparse._ArgumentGroup", name: str, field: "FieldInfo") -> None:
    """Add the flag of one setting to a section of the help."""
    help_text = field.description or ""
    if isinstance(field.default, str | int | tuple) and field.default not in ("", ()) and "default" not in help_text:
        default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        help_text += f" (default: {default})"
    options: dict[str, Any] = {"help": help_text, "default": argparse.SUPPRESS, "metavar": "X"}
    if name == "set":
        options |= {"action": "append", "metavar": "RECIPE.FIELD=X"}
    elif field.annotation is bool:
        options = {"help": field.description, "default": argparse.SUPPRESS, "action": "store_true"}
    elif all(isinstance(choice, str) for choice in get_args(field.annotation)):
        options |= {"metavar": "|".join(get_args(field.annotation)) or "X"}
    section.add_argument(flag_of(name), **options)


def given_by(arguments: argparse.Namespace, *, resumed: bool = False) -> dict[str, Any]:
    """Collect the settings that a person gives by flags, a file and a preset, not yet validated."""
    from tune.settings.preset import file_of, read_preset, settings_with
    from tune.settings.settings import Settings
    from tune.settings.settings_file import SETTINGS, load

    given = {name: value for name, value in vars(arguments).items() if name in Settings.model_fields}
    if "set" in given:
        given["set"] = assignments(given["set"])
    if arguments.config:
        from_file = load(arguments.config)
        if arguments.config.name == SETTINGS and not resumed:
            from_file.pop("name", None)  # an experiment's own settings begin another
        restrictions = {**from_file.get("set", {}), **given.get("set", {})}
        given = {**from_file, **given, **({"set": restrictions} if restrictions else {})}
    if given.get("preset") and not resumed:
        given = settings_with(read_preset(file_of(given["preset"])), given)
    return given


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """Parse `["knn.neighbors=5"]` into a mapping."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text}: write recipe.field=value, =low..high or =a|b|c")
        pairs[key] = value
    return pairs


def given_as(value: object) -> str:
    """Format a setting as its flag takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else repr(value)


def resumed_with(before: "Settings", given: Mapping[str, Any]) -> "Settings":
    """Return the settings of a resumed experiment.

    Raises:
        InputError: a setting has changed that must not.
    """
    from tune.settings.groups import Mark
    from tune.settings.settings import make, marked

    resumable = marked(Mark.RESUMABLE)
    after = make({**before.model_dump(exclude={"address"}), **given})
    changed = [name for name in type(before).model_fields if getattr(before, name) != getattr(after, name)]
    fixed = [name for name in changed if name not in resumable]
    if fixed:
        name = fixed[0]
        raise InputError(
            f"{flag_of(name)} {given_as(getattr(after, name))}: the experiment was begun with "
            f"{given_as(getattr(before, name))}, and --resume cannot change that; begin a new experiment, or "
            f"change only {', '.join(map(flag_of, resumable))}"
        )
    return after


def located(place: str) -> Path:
    """Return the folder that a person names; for a place in a bucket, a copy on this machine."""
    if "://" not in place:
        return Path(place)
    from tune.experiment.experiment import located  # late, as it takes time to import

    return located(place)
