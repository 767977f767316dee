"""The columns of a Parquet data set that hold images, labels and boxes: named by a person, or found."""

from collections.abc import Callable, Sequence

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.types as pt  # type: ignore[import-untyped]

from search_spaces.space.errors import InputError
from trainables.data.parquet_files import Shard

_LABEL_COLUMNS = ("label", "labels", "category", "class")
_BOX_COLUMN = "bbox"
_IMAGE_COLUMN = "image"


def image_column(shard: Shard, column: str | None) -> str:
    """Return the column of images: `column`, or the only one that can hold some if that is None."""
    fitting = [field for field in shard.schema if _holds_images(field.type)]
    found = [field.name for field in fitting if pt.is_struct(field.type)] or [field.name for field in fitting]
    if _IMAGE_COLUMN in found:  # there may be masks beside it
        found = [_IMAGE_COLUMN]
    wanted = "image files: a struct with bytes, or binary"
    return _column(shard, "--image-column", column, found, _holds_images, wanted)


def label_column(shard: Shard, column: str | None) -> str:
    """Return the column of labels: `column`, or the only one of a usual name if that is None."""
    found = [name for name in _LABEL_COLUMNS if name in shard.schema.names]
    wanted = f"labels: text or whole numbers, named {', '.join(_LABEL_COLUMNS)}"
    return _column(shard, "--label-column", column, found, _holds_labels, wanted)


def box_column(shard: Shard, column: str | None) -> str:
    """Return the column of boxes: `column`, or the one of the usual name if that is None."""
    found = [name for name in (_BOX_COLUMN,) if name in shard.schema.names]
    wanted = f"boxes: lists of four numbers, named {_BOX_COLUMN}"
    return _column(shard, "--box-column", column, found, _holds_boxes, wanted)


def _column(
    shard: Shard,
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
