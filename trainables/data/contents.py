"""The form in which every source lists its images, so that the store reads them all alike."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data.decode import Header


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All images of a source, in a fixed order.

    Attributes:
        classes: names of the classes; a label is an index into them.
        names: one an image: its path relative to the folder, or a made-up one such as "train/00042".
        labels: int64 (N,).
        official: int8 (N,), the split that the source itself puts an image in, or UNASSIGNED.
        header: reads what is known of image i before it is decoded; None if it is broken.
        image: decodes image i at full size to mode "L" or "RGB"; raises BrokenImageError.
    """

    classes: tuple[str, ...]
    names: list[str]
    labels: npt.NDArray[np.int64]
    official: npt.NDArray[np.int8]
    header: Callable[[int], Header | None]
    image: Callable[[int], Image.Image]


class Source(Protocol):
    """A place that images come from. Making one is cheap: it only finds out what is there."""

    @property
    def name(self) -> str:
        """The source as the data card shows it, with an absolute path."""

    mirrors: bool
    """Whether a mirrored image is still of its class."""

    @property
    def identity(self) -> object:
        """JSON-able, and another one whenever the images may be others; found without opening an image."""

    @property
    def ignored(self) -> int:
        """Number of files there that are not images of the data set."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about how the source was read."""

    def contents(self) -> Contents:
        """List the images. It may be slow: called only when the store has to be built."""


def stamp(path: Path) -> tuple[str, int, int]:
    """Path, size in bytes and time of the last change in ns: other ones whenever the file may be another."""
    status = path.stat()
    return str(path), status.st_size, changed_ns(status)


def changed_ns(status: os.stat_result) -> int:
    """When a file was changed last, its time of modification or, where that was set back, of its inode."""
    return max(status.st_mtime_ns, status.st_ctime_ns)


def absolute(path: str | Path) -> Path:
    """Expand ~ and make a path absolute, keeping symbolic links as they are written."""
    return Path(path).expanduser().absolute()
