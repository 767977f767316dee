"""The settings file of an experiment, and other YAML files that people edit."""

from pathlib import Path
from typing import Any

import yaml

from search_spaces import InputError
from search_spaces.space.errors import meant
from tune.settings.parsing import flat
from tune.settings.settings import Settings

SETTINGS = "settings.yaml"
"""The name of an experiment's settings file."""


def load(path: Path) -> dict[str, Any]:
    """Load the values of a settings file, not yet validated.

    Raises:
        InputError: the file cannot be read, or is not a mapping of known settings.
    """
    values = read_yaml(path, "settings")
    unknown = [str(key) for key in values if key not in Settings.model_fields]
    if unknown:
        raise InputError(
            f"settings file {path} has unknown keys: {', '.join(unknown)}{meant(unknown[0], Settings.model_fields)}; "
            f"known: {', '.join(Settings.model_fields)}"
        )
    if "set" not in values:
        return values
    if not isinstance(values["set"] or {}, dict):
        raise InputError(f"settings file {path}: set is not a mapping; write lines such as 'knn.neighbors: 1..9'")
    return {**values, "set": flat(values["set"] or {})}


def read_yaml(path: Path, kind: str) -> dict[str, Any]:
    """Read the mapping in a file of settings or of a preset.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        values = yaml.load(path.read_text(), _Loader)
    except OSError as error:
        raise InputError(f"{kind} file {path} cannot be read: {error.strerror}; give a YAML file") from None
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{kind} file {path} is not YAML: {error.problem}{place}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{kind} file {path} is not YAML, but something else than text") from None
    if not isinstance(values, dict):
        raise InputError(f"{kind} file {path} is not a mapping; write lines such as 'trials: 30'")
    return values


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, except that a duplicate key is an error, as the YAML standard says."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping, and refuse duplicate keys."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(problem=f"{twice!r} stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)
