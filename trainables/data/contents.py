"""The common form in which every source lists its images, so that the store reads all sources alike."""

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
        names: one per image: its path relative to the folder, or a made-up one such as "train/00042".
        labels: int64 (N,).
        official: int8 (N,), the split that the source itself gives an image, or UNASSIGNED.
        header: reads the header of image i without decoding it; None if it is broken.
        image: decodes image i at full size to mode "L" or "RGB"; raises BrokenImageError.
    """

    classes: tuple[str, ...]
    names: list[str]
    labels: npt.NDArray[np.int64]
    official: npt.NDArray[np.int8]
    header: Callable[[int], Header | None]
    image: Callable[[int], Image.Image]


class Source(Protocol):
    """A place that images come from. Creating one is cheap: it only looks up which files exist."""

    @property
    def name(self) -> str:
        """The name of the source for the data card, with an absolute path."""

    mirrors: bool
    """True if a mirrored image keeps its class."""

    @property
    def identity(self) -> object:
        """A JSON-able value that changes whenever the images may have changed; found without opening an image."""

    @property
    def ignored(self) -> int:
        """The number of files in the source that are not images of the data set."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for a person about how the source was read."""

    def contents(self) -> Contents:
        """List the images. It may be slow, and is called only when the store has to be built."""


def stamp(path: Path) -> tuple[str, int, int]:
    """Return path, size in bytes and time of the last change in ns, which differ whenever the file may have changed."""
    status = path.stat()
    return str(path), status.st_size, changed_ns(status)


def changed_ns(status: os.stat_result) -> int:
    """Return the time of a file's last change in ns: of its content or, if that was set back, of its inode."""
    return max(status.st_mtime_ns, status.st_ctime_ns)


def absolute(path: str | Path) -> Path:
    """Expand ~ and make a path absolute, keeping symbolic links as they are written."""
    return Path(path).expanduser().absolute()
