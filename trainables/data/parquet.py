"""Images in Parquet shards, as on the Hugging Face hub: one image per row, with its label and perhaps its box."""

import glob
import json
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pyarrow.types as pt  # type: ignore[import-untyped]
from PIL import Image

from search_spaces.space.errors import InputError
from trainables.data.contents import Contents, absolute, stamp
from trainables.data.decode import BrokenImageError, Header, cut, edges_of, read_header, read_image
from trainables.data.spec import SPLITS, UNASSIGNED, DataSpec

_LABEL_COLUMNS = ("label", "labels", "category", "class")
_BOX_COLUMN = "bbox"
_IMAGE_COLUMN = "image"

_SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Words in the name of a file or folder that mark a split, as on the hub."""

_KEPT_BYTES = 256 * 2**20  # limit of the row groups that threads read from; two are kept regardless of size


@dataclass(frozen=True, slots=True)
class _Shard:
    """A file: its path, rows in each row group, columns with their types, and class names if it has some."""

    path: Path
    groups: tuple[int, ...]
    schema: pa.Schema
    features: dict[str, Any]

    @property
    def rows(self) -> int:
        return sum(self.groups)

    def names_in(self, column: str) -> tuple[str, ...] | None:
        """Return the class names that the integers of a column stand for, from the hub's description of the column."""
        feature = self.features.get(column)
        names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
        return tuple(map(str, names)) if names else None


class ParquetShards:
    """A glob of Parquet files, or a folder of them; their footers are read when it is opened.

    The spec may name the columns. Otherwise the image column is the only struct with `bytes` or the only binary column,
    the label column is the only one of `label`, `labels`, `category` and `class`, and the box column is `bbox`, with x,
    y, width and height in pixels. A label is text or a whole number; the hub's name for a number is used if there is
    one.

    The split of a file comes from its name or that of its nearest folder, as on the hub (train-00000-of-00002.parquet).
    If no file has a split, all images are without splits.

    Raises:
        InputError: if a file is damaged or unlike the others, or a column is missing; the message names it.
    """

    mirrors = True

    ignored = 0
    notes: tuple[str, ...] = ()

    def __init__(self, place: str, spec: DataSpec) -> None:
        pattern = absolute(place)
        self.name = f"parquet:{pattern}"
        self._root, paths = _find(pattern)
        if not paths:
            raise InputError(
                f"--data parquet:{place}: there is no .parquet file; give a glob or a folder of some, such as toprung "
                "fetch brings"
            )
        self._shards = [_read_footer(path) for path in paths]
        if not any(shard.rows for shard in self._shards):
            raise InputError(f"--data parquet:{place}: its {len(paths)} files have no rows; give other files")
        self._splits = self._find_splits()
        first = self._shards[0]
        self._image = _image_column(first, spec.image_column)
        self._label = _label_column(first, spec.label_column)
        self._box = _box_column(first, spec.box_column) if spec.variant == "box" else None
        self._check_alike()

    @cached_property
    def identity(self) -> object:
        """The columns, and the `stamp` of each file."""
        return [[self._image, self._label, self._box], [stamp(shard.path) for shard in self._shards]]

    def contents(self) -> Contents:
        """List the rows, file by file; images are read on request, one row group at a time.

        A row without a label, an image or, if boxes are wanted, a box counts as a broken image.

        Raises:
            InputError: if a file cannot be read, which the message names, or if there are fewer than two classes.
        """
        faults: dict[int, str] = {}
        classes, labels = self._read_labels(faults)
        boxes = None if self._box is None else self._read_boxes(faults)
        row_groups = _RowGroups(self._shards, self._image)

        def header(i: int) -> Header | None:
            data = None if i in faults else row_groups.image(i)
            found = None if data is None else read_header(data)
            if found is None or boxes is None:
                return found
            edges = edges_of(boxes[i])
            return edges and Header(edges[2] - edges[0], edges[3] - edges[1], grey=found.grey)

        def image(i: int) -> Image.Image:
            if i in faults:
                raise BrokenImageError(faults[i])
            data = row_groups.image(i)
            if data is None:
                raise BrokenImageError("its image has no bytes")
            decoded = read_image(data)
            return decoded if boxes is None else cut(decoded, boxes[i])

        return Contents(
            classes=classes,
            names=[f"{self._relative(shard.path)}/{i}" for shard in self._shards for i in range(shard.rows)],
            labels=labels,
            official=np.repeat(np.array(self._splits, np.int8), [shard.rows for shard in self._shards]),
            header=header,
            image=image,
        )

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _find_splits(self) -> list[int]:
        """Return the code of the split of each file."""
        splits = [_split_of(Path(self._relative(shard.path))) for shard in self._shards]
        named = {split for split in splits if split is not None}
        if not named:
            return [UNASSIGNED] * len(splits)
        if None in splits:
            nameless = self._shards[splits.index(None)].path
            raise InputError(
                f"{nameless} names no split, but other files do ({', '.join(sorted(named))}): rename it, or give a "
                "glob without it"
            )
        if "train" not in named:
            raise InputError(
                f"{self.name} has files of {', '.join(sorted(named))} but none of train: name one such as "
                "train-00000-of-00001.parquet"
            )
        return [SPLITS.index(split) for split in splits if split is not None]

    def _check_alike(self) -> None:
        """Check that the columns have the same types and class names in all files."""
        first, *others = self._shards
        rule = "files of one data set must have one schema"
        for shard in others:
            for column in (self._image, self._label, self._box):
                if column is None:
                    continue
                if column not in shard.schema.names:
                    raise InputError(f"{shard.path} has no column {column}, but {first.path.name} has: {rule}")
                expected, found = (each.schema.field(column).type for each in (first, shard))
                if found != expected:
                    raise InputError(
                        f"{shard.path} has {found} in {column}, but {first.path.name} has {expected}: {rule}"
                    )
            if shard.names_in(self._label) != first.names_in(self._label):
                raise InputError(
                    f"{shard.path} has other names of classes in {self._label} than {first.path.name}: {rule}"
                )

    def _read_column(self, column: str) -> Iterator[tuple[int, Any]]:
        """Yield (row, value) of a column of small values."""
        row = 0
        for shard in self._shards:
            for group in range(len(shard.groups)):
                for value in _read_row_group(shard.path, group, column).column(0).to_pylist():
                    yield row, value
                    row += 1

    def _read_labels(self, faults: dict[int, str]) -> tuple[tuple[str, ...], np.ndarray[Any, np.dtype[np.int64]]]:
        """Read the names of the classes that occur, and labels (N,); a row without a label gets 0 and a fault."""
        names = self._shards[0].names_in(self._label)
        values: dict[int, str | int] = {}
        for row, value in self._read_column(self._label):
            if value is None or not str(value).strip():
                faults[row] = f"its {self._label} is {'null' if value is None else 'empty'}"
            elif names is not None and isinstance(value, int) and not 0 <= value < len(names):
                faults[row] = f"its {self._label} {value} is none of the {len(names)} classes"
            else:
                values[row] = value
        found = sorted(set(values.values()))
        if len(found) < 2:
            raise InputError(
                f"{self.name} has {len(found)} classes in {self._label}, and telling classes apart takes two: "
                "is another column meant by --label-column?"
            )
        code_of = {value: code for code, value in enumerate(found)}
        labels = np.zeros(len(values) + len(faults), np.int64)
        labels[list(values)] = [code_of[value] for value in values.values()]
        return tuple(names[value] if names and isinstance(value, int) else str(value) for value in found), labels

    def _read_boxes(self, faults: dict[int, str]) -> list[Sequence[float]]:
        """Read the N boxes; a row without a box gets an empty one and a fault."""
        assert self._box is not None
        boxes = []
        for row, box in self._read_column(self._box):
            if box is None or len(box) != 4 or None in box:
                faults.setdefault(row, f"its {self._box} is {box}, not x, y, width and height")
                box = ()
            boxes.append(box)
        return boxes


class _RowGroups:
    """A thread-safe reader of images by row; it keeps the last row groups, because rows are requested in order."""

    def __init__(self, shards: Sequence[_Shard], column: str) -> None:
        self._places = [(shard.path, group) for shard in shards for group in range(len(shard.groups))]
        self._starts = [0, *accumulate(rows for shard in shards for rows in shard.groups)]
        self._column = column
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
            while len(self._kept) > 2 and sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        data: bytes | None = images[row - self._starts[number]].as_py()
        return data or None

    def _read(self, number: int) -> pa.ChunkedArray:
        images = _read_row_group(*self._places[number], self._column).column(0)
        return pc.struct_field(images, "bytes") if pt.is_struct(images.type) else images


def _find(pattern: Path) -> tuple[Path, list[Path]]:
    """Find the folder that paths are relative to, and the files, sorted."""
    if pattern.is_dir():
        below = (path for path in pattern.rglob("*.parquet") if path.is_file())
        return pattern, sorted(p for p in below if not any(q.startswith(".") for q in p.relative_to(pattern).parts))
    root = next(folder for folder in pattern.parents if not glob.has_magic(str(folder)))
    found = glob.glob(str(pattern), recursive=True)  # noqa: PTH207  (Path.glob raises for **.parquet)
    return root, sorted(path for path in map(Path, found) if path.is_file())


def _split_of(path: Path) -> str | None:
    """Find the split of a file from the words of its name, else of its nearest folder."""
    for name in (path.stem, *reversed(path.parent.parts)):
        found = {_SPLIT_OF[word] for word in re.split(r"[-._ 0-9]+", name.lower()) if word in _SPLIT_OF}
        if len(found) > 1:
            raise InputError(f"{path} names several splits, {' and '.join(sorted(found))}: rename it to be of one")
        if found:
            return found.pop()
    return None


def _read_footer(path: Path) -> _Shard:
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
    return _Shard(path, groups, schema, features if isinstance(features, dict) else {})


def _read_row_group(path: Path, group: int, column: str) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read_row_group(group, columns=[column])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged in row group {group} ({_line(error)}): download it again") from error


def _image_column(shard: _Shard, column: str | None) -> str:
    fitting = [field for field in shard.schema if _holds_images(field.type)]
    found = [field.name for field in fitting if pt.is_struct(field.type)] or [field.name for field in fitting]
    if _IMAGE_COLUMN in found:  # there may be masks beside it
        found = [_IMAGE_COLUMN]
    wanted = "image files: a struct with bytes, or binary"
    return _column(shard, "--image-column", column, found, _holds_images, wanted)


def _label_column(shard: _Shard, column: str | None) -> str:
    found = [name for name in _LABEL_COLUMNS if name in shard.schema.names]
    wanted = f"labels: text or whole numbers, named {', '.join(_LABEL_COLUMNS)}"
    return _column(shard, "--label-column", column, found, _holds_labels, wanted)


def _box_column(shard: _Shard, column: str | None) -> str:
    found = [name for name in (_BOX_COLUMN,) if name in shard.schema.names]
    wanted = f"boxes: lists of four numbers, named {_BOX_COLUMN}"
    return _column(shard, "--box-column", column, found, _holds_boxes, wanted)


def _column(
    shard: _Shard,
    flag: str,
    named: str | None,
    found: Sequence[str],
    fits: Callable[[pa.DataType], bool],
    wanted: str,
) -> str:
    """Return the column that was named with a flag, else the only one that was found."""
    there = ", ".join(shard.schema.names)
    if named is None and len(found) != 1:
        problem = f"several columns ({', '.join(found)})" if found else "no column"
        raise InputError(f"{shard.path} has {problem} of {wanted}; say which with {flag}, of: {there}")
    column = found[0] if named is None else named
    if column not in shard.schema.names:
        raise InputError(f"{flag} {column}: is no column of {shard.path}; there are: {there}")
    kind = shard.schema.field(column).type
    if not fits(kind):
        raise InputError(f"{flag} {column}: is {kind} in {shard.path}, but must hold {wanted}; there are: {there}")
    return column


def _holds_images(kind: pa.DataType) -> bool:
    if pt.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_images(kind.field("bytes").type)
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind))


def _holds_labels(kind: pa.DataType) -> bool:
    if pt.is_dictionary(kind):
        return _holds_labels(kind.value_type)
    return bool(pt.is_integer(kind) or pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _holds_boxes(kind: pa.DataType) -> bool:
    listed = pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)
    return bool(listed and (pt.is_integer(kind.value_type) or pt.is_floating(kind.value_type)))


def _line(error: Exception) -> str:
    """Return the first line of an error, as Arrow's errors may have many."""
    return (str(error).splitlines() or [type(error).__name__])[0]
