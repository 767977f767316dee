"""Sources that already are arrays: scikit-learn's digits, and Fashion-MNIST in its four IDX files."""

import gzip
import math
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from search_spaces.space.errors import InputError
from trainables.data.contents import Contents, stamp
from trainables.data.decode import Header
from trainables.data.spec import SPLITS, UNASSIGNED

_FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_FASHION_PARTS = (("train", "train"), ("test", "t10k"))


@dataclass(frozen=True)
class Digits:
    """The 1,797 digits of 8 x 8 pixels that come with scikit-learn."""

    mirrors = False

    name: str = "digits"
    identity: str = "digits, 0..16 scaled to 0..255"
    ignored: int = 0
    notes: tuple[str, ...] = ()

    def contents(self) -> Contents:
        """List the images."""
        from sklearn.datasets import load_digits  # here, as it takes seconds and other sources do not need it

        bunch = load_digits()
        images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        classes = tuple(str(digit) for digit in bunch.target_names)
        names = [f"{i:04d}" for i in range(len(images))]
        official = np.full(len(images), UNASSIGNED, np.int8)
        return array_contents(images, bunch.target.astype(np.int64), classes, official, names)


@dataclass(frozen=True)
class PublishedFiles:
    """A data set in a folder of files whose names are known.

    Raises:
        InputError: if a file is missing.
    """

    kind: ClassVar[str]
    to_be_had: ClassVar[str]
    places: ClassVar[str] = "the folder"
    mirrors = True

    folder: Path
    ignored: int = field(default=0, init=False)
    notes: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        missing = [path.name for path in self._files if not path.is_file()]
        if missing:
            raise InputError(
                f"{self.name} lacks {', '.join(missing)}: {self.places} must have "
                f"{'these' if len(missing) == len(self._files) else ', '.join(path.name for path in self._files)}; "
                f"{self.to_be_had}"
            )

    @property
    def name(self) -> str:
        """The source with its absolute folder."""
        return f"{self.kind}:{self.folder}"

    @cached_property
    def identity(self) -> list[tuple[str, int, int]]:
        """The `stamp` of each file."""
        return [stamp(path) for path in self._files]

    @property
    def _files(self) -> list[Path]:
        raise NotImplementedError


@dataclass(frozen=True)
class FashionMNIST(PublishedFiles):
    """Fashion-MNIST as published: a folder of four gzipped IDX files, split into train and test."""

    kind = "fashion_mnist"
    to_be_had = "Debian has them: apt install dataset-fashion-mnist"

    @property
    def _files(self) -> list[Path]:
        return [self.folder / name for _, part in _FASHION_PARTS for name in _file_names(part)]

    def contents(self) -> Contents:
        """Read the four files.

        Raises:
            InputError: if a file has wrong content; the message names the file.
        """
        images, labels, official, names = [], [], [], []
        for split, part in _FASHION_PARTS:
            images_file, labels_file = (self.folder / name for name in _file_names(part))
            images.append(_read_idx(images_file, dimensions=3))
            labels.append(_read_idx(labels_file, dimensions=1))
            if len(images[-1]) != len(labels[-1]):
                raise InputError(
                    f"{images_file} has {len(images[-1])} images but {labels_file.name} has "
                    f"{len(labels[-1])} labels: download both again"
                )
            if labels[-1].max(initial=0) >= len(_FASHION_CLASSES):
                raise InputError(f"{labels_file} has label {labels[-1].max()}, but labels must be 0 to 9")
            official.append(np.full(len(labels[-1]), SPLITS.index(split), np.int8))
            names += [f"{split}/{i:05d}" for i in range(len(labels[-1]))]
        if images[0].shape[1:] != images[1].shape[1:]:
            raise InputError(
                f"fashion_mnist:{self.folder} has images of {images[0].shape[1:]} pixels in train but "
                f"{images[1].shape[1:]} in test: they must be of one size"
            )
        return array_contents(
            np.concatenate(images),
            np.concatenate(labels).astype(np.int64),
            _FASHION_CLASSES,
            np.concatenate(official),
            names,
        )


def _file_names(part: str) -> tuple[str, str]:
    return f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"


def _read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes: two zeros, type 8, the number of dimensions, their sizes, the data.

    The format is described at http://yann.lecun.com/exdb/mnist/.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file ({error}): download it again") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    magic = bytes((0, 0, 8, dimensions))
    start = 4 + 4 * dimensions
    if data[:4] != magic or len(data) < start:
        raise InputError(
            f"{path} starts with {data[:4].hex()}, but an IDX file of bytes with {dimensions} "
            f"dimension(s) starts with {magic.hex()}: is it another file?"
        )
    shape = tuple(int(size) for size in np.frombuffer(data[4:start], ">u4"))
    if len(data) - start != math.prod(shape) or 0 in shape:
        raise InputError(f"{path} says it holds {shape} bytes but holds {len(data) - start}: download it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def array_contents(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    official: npt.NDArray[np.int8],
    names: list[str],
) -> Contents:
    """List images that are an array: gray (N, H, W) or color (N, H, W, 3)."""
    _, height, width = images.shape[:3]
    header = Header(width, height, grey=images.ndim == 3)
    return Contents(
        classes=classes,
        names=names,
        labels=labels,
        official=official,
        header=lambda _: header,
        image=lambda i: Image.fromarray(images[i]),
    )
