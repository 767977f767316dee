"""Parsers and checks of single settings. Pydantic calls them; a ValueError becomes the rule in the error message."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EMBEDDED = ("digits",)
"""Data sets that are given by name, not by path. A folder of such a name is written ./digits."""

BUCKETS = ("s3", "gs")
URL_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._=+-]+)*/?")
WANDB_PROJECT = re.compile(r"[^/\\#?%:]{1,128}")
UNIT_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""The seconds of each unit."""


def seconds(value: object) -> object:
    """Parse seconds from a number or from text such as 90, 90s, 10m, 1.5h."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)\s*", value)
    if not match:
        raise ValueError("write seconds, or a number with s, m, h or d, as in 10m")
    return float(match[1]) * UNIT_SECONDS[match[2]]


def items(value: object) -> object:
    """Split text at commas into a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def shares(value: object) -> object:
    """Parse three shares, numbers or "rest", from text such as 0.7,0.15,0.15 or rest,1000,1000."""
    parts = items(value)
    try:
        parsed = tuple(part if part == "rest" else float(part) for part in parts)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        parsed = ()
    if len(parsed) != 3:
        raise ValueError(
            "write three fractions, of train, val and test, such as 0.7,0.15,0.15, or numbers of images, such as "
            "rest,1000,1000"
        )
    return parsed


def flat(value: Any) -> Any:
    """Flatten `{"knn": {"neighbors": 5}}`, the natural form in YAML, to `{"knn.neighbors": "5"}`."""
    if not isinstance(value, Mapping):
        return value
    pairs: dict[str, str] = {}
    for key, inner in value.items():
        nested = inner if isinstance(inner, Mapping) else {"": inner}
        pairs |= {f"{key}.{name}".rstrip("."): str(text) for name, text in nested.items()}
    return pairs


def absolute(path: str) -> str:
    """Return a path that means the same to workers and to a resumed search, wherever they are started."""
    return str(Path(path).expanduser().absolute())


def absolute_out(folder: str) -> str:
    """Make the folder of experiments absolute, unless it is in a bucket."""
    scheme, url, place = folder.partition("://")
    if not url:
        return absolute(folder)
    if scheme not in BUCKETS or not URL_PLACE.fullmatch(place):
        raise ValueError("is no folder and in no bucket; write a path, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER")
    return folder.rstrip("/")


def absolute_file(path: str | None) -> str | None:
    """Make the path of a file absolute, if one is given."""
    return None if path is None else absolute(path)


def absolute_source(data: str) -> str:
    """Make the folder or glob in a data source absolute; a source that names no existing folder stays as it is."""
    if data in EMBEDDED:
        return data
    kind, colon, path = data.rpartition(":")
    placed = kind == "parquet" or Path(path).expanduser().is_dir()
    return f"{kind}{colon}{absolute(path)}" if placed and path else data


def absolute_storage(url: str | None) -> str | None:
    """Make the file of an SQLite URL absolute."""
    scheme, slashes, path = (url or "").partition(":///")
    return f"sqlite:///{absolute(path)}" if scheme == "sqlite" and slashes and path else url


def absolute_preset(preset: str | None) -> str | None:
    """Make the file of a person's own preset absolute."""
    return absolute(preset) if preset and preset.endswith((".yaml", ".yml")) else preset


def project_name(name: str) -> str:
    """Refuse a name that W&B does not accept for a project."""
    if not WANDB_PROJECT.fullmatch(name):
        raise ValueError("cannot name a project; use up to 128 characters, and none of / \\ # ? % :")
    return name


def has_password(url: str | None) -> bool:
    """Return True if a storage's URL holds a password, or cannot be parsed and so must not be shown."""
    if url is None or not {"@", "?"} & set(url):
        return False
    from sqlalchemy import make_url  # late, as it takes time to import
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return True
    return parsed.password is not None or any("password" in key.lower() for key in parsed.query)


def cache_folder() -> Path:
    """Return this machine's cache folder, for files that can be made or downloaded again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "toprung"


def out_folder() -> str:
    """Return the default folder of experiments."""
    return os.environ.get("TOPRUNG_OUT") or "results"
