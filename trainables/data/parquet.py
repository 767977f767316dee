"""Images in Parquet shards, as on the Hugging Face hub: one image per row, with its label and perhaps its box."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from search_spaces.space.errors import InputError
from trainables.data.contents import Contents, absolute, stamp
from trainables.data.decode import BrokenImageError, Header, cut, edges_of, read_header, read_image
from trainables.data.parquet_columns import box_column, image_column, label_column
from trainables.data.parquet_files import RowGroups, find_files, read_footer, read_row_group, split_of
from trainables.data.spec import SPLITS, UNASSIGNED, DataSpec


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
        self._root, paths = find_files(pattern)
        if not paths:
            raise InputError(
                f"--data parquet:{place}: there is no .parquet file; give a glob or a folder of some, such as toprung "
                "fetch brings"
            )
        self._shards = [read_footer(path) for path in paths]
        if not any(shard.rows for shard in self._shards):
            raise InputError(f"--data parquet:{place}: its {len(paths)} files have no rows; give other files")
        self._splits = self._find_splits()
        first = self._shards[0]
        self._image = image_column(first, spec.image_column)
        self._label = label_column(first, spec.label_column)
        self._box = box_column(first, spec.box_column) if spec.variant == "box" else None
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
        row_groups = RowGroups(self._shards, self._image)

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
        splits = [split_of(Path(self._relative(shard.path))) for shard in self._shards]
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
                for value in read_row_group(shard.path, group, column).column(0).to_pylist():
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
