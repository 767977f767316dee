"""CIFAR-10 as published for Python: a folder of six pickled batches and one file of class names.

A pickle may run any code when it is read. So these are read by an unpickler that knows only the few NumPy names that
rebuild an array, and refuses a file that asks for any other name.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.space.errors import InputError
from trainables.data.arrays import PublishedFiles, array_contents
from trainables.data.contents import Contents
from trainables.data.spec import SPLITS

_SUBFOLDER = "cifar-10-batches-py"  # the folder in the published archive
_META = "batches.meta"
_BATCHES = {**{f"data_batch_{i}": "train" for i in range(1, 6)}, "test_batch": "test"}
_CHANNELS, _SIDE = 3, 32


@dataclass(frozen=True)
class CIFAR10(PublishedFiles):
    """CIFAR-10: color images of 32 x 32 pixels, split into train and test.

    The layout of the files is described at https://www.cs.toronto.edu/~kriz/cifar.html.
    """

    kind = "cifar10"
    to_be_had = "toprung fetch cifar10 brings them"
    places = f"the folder, or {_SUBFOLDER} in it,"

    @property
    def _files(self) -> list[Path]:
        below = self.folder / _SUBFOLDER
        place = below if below.is_dir() else self.folder
        return [place / name for name in (*_BATCHES, _META)]

    def contents(self) -> Contents:
        """Read the seven files.

        Raises:
            InputError: if a file has wrong content; the message names the file.
        """
        *batches, meta = self._files
        classes, rows = _read_meta(meta)
        images, labels, official, names = [], [], [], []
        for path in batches:
            batch_images, batch_labels = _read_batch(path, rows, len(classes))
            images.append(batch_images)
            labels.append(batch_labels)
            official.append(np.full(rows, SPLITS.index(_BATCHES[path.name]), np.int8))
            names += [f"{path.name}/{i:04d}" for i in range(rows)]
        return array_contents(np.concatenate(images), np.concatenate(labels), classes, np.concatenate(official), names)


def _read_meta(path: Path) -> tuple[tuple[str, ...], int]:
    """Read the names of the classes and the number of images per batch."""
    meta = _unpickle(path)
    names, rows = meta.get("label_names"), meta.get("num_cases_per_batch")
    if not isinstance(names, list) or not isinstance(rows, int) or rows < 1:
        raise InputError(
            f"{path} has {_some_keys(meta)} but must have label_names and num_cases_per_batch: is it of another "
            "data set?"
        )
    classes = tuple(_text(name) for name in names)
    if len(set(classes)) != 10:
        raise InputError(f"{path} names {len(set(classes))} classes, but CIFAR-10 has 10: is it of another data set?")
    return classes, rows


def _read_batch(path: Path, rows: int, classes: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Read the images (rows, 32, 32, 3) and labels (rows,) of a batch."""
    batch = _unpickle(path)
    if "data" not in batch or "labels" not in batch:
        raise InputError(f"{path} has {_some_keys(batch)} but must have data and labels: is it of another data set?")
    data, pixels = batch["data"], _CHANNELS * _SIDE**2
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (rows, pixels):
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise InputError(
            f"{path} has {found} as data, but must have uint8 {(rows, pixels)}, by {_META}: download all files again"
        )
    try:
        labels = np.asarray(batch["labels"])
    except ValueError:  # lists of different lengths
        labels = np.empty(0)
    if labels.shape != (rows,) or labels.dtype.kind not in "iu":
        raise InputError(f"{path} has {rows} images but not as many whole numbers as labels: download all files again")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise InputError(f"{path} has label {wrong[0]}, but labels must be 0 to {classes - 1}")
    return data.reshape(rows, _CHANNELS, _SIDE, _SIDE).transpose(0, 2, 3, 1), labels.astype(np.int64)


def _unpickle(path: Path) -> dict[str, Any]:
    """Read a pickled mapping of plain values and arrays, from Python 2 or 3."""
    try:
        with path.open("rb") as file:
            # Arrays that Python 2 wrote can be rebuilt only with this text encoding.
            value = _ArrayUnpickler(file, encoding="latin1").load()
    except _ForeignTypeError as error:
        raise InputError(
            f"{path} holds {error}, which a batch of CIFAR-10 does not, and was not read: download it again"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # a damaged pickle may raise anything
        raise InputError(f"{path} is not a whole pickle ({error}): download it again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {type(value).__name__}, but must hold a mapping: is it another file?")
    return {_text(key): inner for key, inner in value.items()}


class _ForeignTypeError(Exception):
    """A request in a pickle for a name that no array needs."""


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler of plain values and numeric arrays; it knows NumPy's names from before version 2 and since."""

    def find_class(self, module: str, name: str) -> Any:
        found = _NAMES.get((module, name))
        if found is None:
            raise _ForeignTypeError(f"{module}.{name}")
        return found


def _dtype(text: object, *_: object) -> np.dtype[Any]:
    """Rebuild a numeric dtype; old files write its flags as 0 and 1, of which NumPy warns."""
    dtype = np.dtype(_text(text))
    if dtype.kind not in "iu":
        raise pickle.UnpicklingError(f"an array of {dtype}")
    return np.dtype(dtype, copy=True)


def _encoded(text: str, encoding: str) -> bytes:
    """Rebuild bytes, which Python 3 stores as text in the pickle protocols of Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode(encoding)


_reconstruct: Any = np.empty(0).__reduce__()[0]  # the function that NumPy itself writes, under both names

_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encoded,
}


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _some_keys(mapping: dict[str, Any]) -> str:
    return ", ".join(list(mapping)[:6]) or "nothing"
