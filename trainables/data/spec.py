"""The data settings of a search: the source, the variant and size of its images, and the split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from search_spaces.space.errors import InputError
from search_spaces.space.shape import Share
from search_spaces.space.space import Variant

SPLITS = ("train", "val", "test")
"""The splits, in the order of their codes 0, 1, 2 in arrays."""

TRAIN = SPLITS.index("train")
"""The code of train."""

UNASSIGNED = -1
"""The code of an image in no split: not dealt yet, or left out by `limit`."""

BadImagePolicy = Literal["refuse", "skip"]

Shares = tuple[Share, Share, Share]

TrainOn = Literal["train", "train+val"]
"""The splits that a model is trained on."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The data settings of a search.

    Attributes:
        source: "digits", "fashion_mnist:DIR", "cifar10:DIR", "parquet:GLOB" (or a folder of .parquet files), or the
            folder of an image data set.
        image_size: side of the stored square images in pixels. None keeps the native side if all images share one
            square size of at most 64 pixels, and is 64 otherwise.
        variant: "box" cuts each image to its box before resizing; the source must have boxes.
        image_column, label_column, box_column: of Parquet files; None finds them (see `ParquetShards`).
        normalize_classes: lower-case class names and write blanks as underscores; classes whose names become equal are
            joined.
        drop_unseen_classes: leave out of train the classes that occur neither in val nor in test.
        split: shares of train, val and test: fractions that sum to 1 or, if a number is 1 or more, counts of images,
            one of which may be "rest". With three counts, train leaves out the images beyond its count. A test share of
            0 makes no test split. If the data set comes with splits, only the missing ones are dealt, out of train and,
            if fractions, in their proportions.
        group_by: regular expression searched in the path relative to the folder. Images with the same match (its first
            group, if it has one) stay in one split.
        limit: number of training images to keep, stratified by class.
        seed: of the split and of the images that `limit` keeps.
        on_bad_image: "refuse" stops `prepare` at an image that cannot be decoded; "skip" leaves it out and lists it.

    Raises:
        InputError: for a value outside its range.
    """

    source: str
    image_size: int | None = None
    variant: Variant = "whole"
    image_column: str | None = None
    label_column: str | None = None
    box_column: str | None = None
    normalize_classes: bool = False
    drop_unseen_classes: bool = False
    split: Shares = (0.70, 0.15, 0.15)
    group_by: str | None = None
    limit: int | None = None
    seed: int = 0
    on_bad_image: BadImagePolicy = "refuse"

    def __post_init__(self) -> None:
        if self.image_size is not None and self.image_size < 1:
            raise InputError(f"--image-size {self.image_size}: must be at least 1 pixel, or not given")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit}: must be at least 1 image, or not given")
        if self.on_bad_image not in get_args(BadImagePolicy):
            raise InputError(f"--on-bad-image {self.on_bad_image}: must be refuse or skip")
        if self.variant not in get_args(Variant):
            raise InputError(f"--variant {self.variant}: must be whole or box")
        if self.box_column is not None and self.variant != "box":
            raise InputError(f"--box-column {self.box_column}: boxes are read with --variant box only; add it")
        self._check_split()

    def _check_split(self) -> None:
        if len(self.split) != len(SPLITS) or not (_are_fractions(self.split) or _are_counts(self.split)):
            raise InputError(
                f"--split {shares_text(self.split)}: must be three fractions that sum to 1, or three numbers of "
                "images of which one may be rest, for train, val and test; write for instance 0.7,0.15,0.15 or "
                "rest,1000,1000"
            )
        if 0 in self.split[:2]:
            raise InputError(
                f"--split {shares_text(self.split)}: leaves {SPLITS[self.split.index(0)]} empty, but only test may "
                "be; write for instance 0.8,0.2,0"
            )


def are_counts(split: Sequence[Share]) -> bool:
    """Return True if valid shares are numbers of images and not fractions."""
    return any(share == "rest" or share >= 1 for share in split)


def shares_text(split: Sequence[Share]) -> str:
    """Return the shares as written after --split."""
    return ",".join(share if share == "rest" else f"{share:.10g}" for share in split)


def _are_fractions(split: Sequence[Share]) -> bool:
    numbers = [share for share in split if share != "rest"]
    return (
        len(numbers) == len(split)
        and all(0 <= share < 1 for share in numbers)
        and math.isclose(sum(numbers), 1.0, abs_tol=1e-6)
    )


def _are_counts(split: Sequence[Share]) -> bool:
    numbers = [share for share in split if share != "rest"]
    whole = all(0 <= share < math.inf and share == int(share) for share in numbers)
    return whole and len(numbers) >= len(split) - 1 and any(share >= 1 for share in numbers)
