"""What a person says about the data: where it is, how large it is stored, how it is split."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from search_spaces._errors import InputError

SPLITS = ("train", "val", "test")
"""The splits, in the order of their codes 0, 1, 2 wherever an array of them is kept."""

UNASSIGNED = -1
"""The code of an image that is in no split: not dealt yet, or left out by `limit`."""

BadImagePolicy = Literal["refuse", "skip"]


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """A data set as a search is given it.

    Attributes:
        source: "digits", "fashion_mnist:DIR", or the folder of an image data set.
        image_size: side of the stored square images in pixels. None keeps the native side where all images
            share one square size of at most 64 pixels, and is 64 otherwise.
        split: shares of train, val and test, all positive, summing to 1. Of a data set that comes with
            splits only the missing ones are dealt, out of train and by these proportions.
        group_by: regular expression searched in the path relative to the folder. Images with the same match
            (its first group, if it has one) stay in one split.
        limit: number of training images to keep, stratified by class.
        seed: of the split and of the images that `limit` keeps.
        on_bad_image: whether an image that cannot be decoded stops `prepare` or is left out and listed.

    Raises:
        InputError: for a value outside its range.
    """

    source: str
    image_size: int | None = None
    split: tuple[float, float, float] = (0.70, 0.15, 0.15)
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
        positive = all(math.isfinite(share) and share > 0 for share in self.split)
        if len(self.split) != len(SPLITS) or not positive or not math.isclose(sum(self.split), 1.0, abs_tol=1e-6):
            given = ",".join(f"{share:g}" for share in self.split)
            raise InputError(
                f"--split {given}: must be three positive fractions that sum to 1, for train, val and test; "
                "write for instance 0.7,0.15,0.15"
            )
