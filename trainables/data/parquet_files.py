"""The files of a Parquet data set: their splits, footers and row groups."""

import glob
import json
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pyarrow.types as pt  # type: ignore[import-untyped]

from search_spaces.space.errors import InputError

_SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Words in the name of a file or folder that mark a split, as on the hub."""

_KEPT_BYTES = 256 * 2**20  # limit of the row groups that threads read from; two are kept regardless of size


@dataclass(frozen=True, slots=True)
class Shard:
    """A file: its path, rows in each row group, columns with their types, and class names if it has some."""

    path: Path
    groups: tuple[int, ...]
    schema: pa.Schema
    features: dict[str, Any]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(self.groups)

    def names_in(self, column: str) -> tuple[str, ...] | None:
        """Return the class names that the integers of a column stand for, from the hub's description of the column."""
        feature = self.features.get(column)
        names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
        return tuple(map(str, names)) if names else None


class RowGroups:
    """A thread-safe reader of images by row; it keeps the last row groups, because rows are requested in order."""

    def __init__(self, shards: Sequence[Shard], column: str, kept_bytes: int = _KEPT_BYTES) -> None:
        self._places = [(shard.path, group) for shard in shards for group in range(len(shard.groups))]
        self._starts = [0, *accumulate(rows for shard in shards for rows in shard.groups)]
        self._column, self._kept_bytes = column, kept_bytes
        self._kept: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    def image(self, row: int) -> bytes | None:
        """Return the file content of the image in a row; None if there is none."""
        number = bisect_right(self._starts, row) - 1
        with self._lock:
            images = self._kept.get(number)
            if images is None:
                images = self._read(number)
                self._kept[number] = images
            self._kept.move_to_end(number)
            while len(self._kept) > 2 and sum(kept.nbytes for kept in self._kept.values()) > self._kept_bytes:
                self._kept.popitem(last=False)
        data: bytes | None = images[row - self._starts[number]].as_py()
        return data or None

    def _read(self, number: int) -> pa.ChunkedArray:
        images = read_row_group(*self._places[number], self._column).column(0)
        return pc.struct_field(images, "bytes") if pt.is_struct(images.type) else images


def find_files(pattern: Path) -> tuple[Path, list[Path]]:
    """Find the folder that paths are relative to, and the files, sorted."""
    if pattern.is_dir():
        below = (path for path in pattern.rglob("*.parquet") if path.is_file())
        return pattern, sorted(p for p in below if not any(q.startswith(".") for q in p.relative_to(pattern).parts))
    root = next(folder for folder in pattern.parents if not glob.has_magic(str(folder)))
    found = glob.glob(str(pattern), recursive=True)  # noqa: PTH207  (Path.glob raises for **.parquet)
    return root, sorted(path for path in map(Path, found) if path.is_file())


def split_of(path: Path) -> str | None:
    """Find the split of a file from the words of its name, else of its nearest folder."""
    for name in (path.stem, *reversed(path.parent.parts)):
        found = {_SPLIT_OF[word] for word in re.split(r"[-._ 0-9]+", name.lower()) if word in _SPLIT_OF}
        if len(found) > 1:
            raise InputError(f"{path} names several splits, {' and '.join(sorted(found))}: rename it to be of one")
        if found:
            return found.pop()
    return None


def read_footer(path: Path) -> Shard:
    """Read a file's description of itself.

    Raises:
        InputError: the file is not whole.
    """
    try:
        with pq.ParquetFile(path) as file:
            metadata, schema = file.metadata, file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file ({_line(error)}): download it again") from error
    groups = tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    except (TypeError, KeyError, ValueError):  # not from the hub, so labels are the column's values
        features = {}
    return Shard(path, groups, schema, features if isinstance(features, dict) else {})


def read_row_group(path: Path, group: int, column: str) -> pa.Table:
    """Read a column of a row group.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.read_row_group(group, columns=[column])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged in row group {group} ({_line(error)}): download it again") from error


def _line(error: Exception) -> str:
    """Return the first line of an error, as Arrow's errors may have many."""
    return (str(error).splitlines() or [type(error).__name__])[0]
