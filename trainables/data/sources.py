"""The step from a source's name, as a person typed it, to the source itself."""

import difflib

from search_spaces.space.errors import InputError
from trainables.data.arrays import Digits, FashionMNIST
from trainables.data.cifar10 import CIFAR10
from trainables.data.contents import Source, absolute
from trainables.data.image_folder import ImageFolder
from trainables.data.parquet import ParquetShards
from trainables.data.spec import DataSpec

_PLACES = {
    "fashion_mnist": "fashion_mnist:DIR, where DIR has the IDX .gz files",
    "cifar10": "cifar10:DIR, where DIR has data_batch_1",
    "parquet": "parquet:GLOB, where GLOB is of .parquet files, or a folder of them",
}
_KNOWN = ("digits", *(form.partition(",")[0] for form in _PLACES.values()))


def open_source(spec: DataSpec) -> Source:
    """Open the source that a person named.

    Raises:
        InputError: if it is neither a known name nor a folder, has a wrong layout, or lacks requested columns or boxes.
    """
    text = spec.source
    name, _, place = text.partition(":")
    if name in _PLACES and not place:
        raise InputError(f"--data {text}: names no folder; give {_PLACES[name]}")
    if name == "parquet":
        return ParquetShards(place, spec)
    columns = {"image": spec.image_column, "label": spec.label_column, "box": spec.box_column}
    for what, column in columns.items():
        if column is not None:
            raise InputError(f"--{what}-column {column}: is for parquet:GLOB, but --data is {text}; leave it out")
    if spec.variant == "box":
        raise InputError(
            f"--variant box: --data {text} has no boxes, as only parquet:GLOB can have; say --variant whole"
        )
    if text == "digits":
        return Digits()
    if name == "fashion_mnist":
        return FashionMNIST(absolute(place))
    if name == "cifar10":
        return CIFAR10(absolute(place))
    root = absolute(text)
    if root.is_dir():
        return ImageFolder(root)
    known = f"there are: {', '.join(_KNOWN)}, or the folder of an image data set, as toprung fetch brings some"
    if root.exists():
        raise InputError(f"--data {text}: is a file; {known}")
    near = difflib.get_close_matches(name.lower(), [entry.partition(":")[0] for entry in _KNOWN], n=1)
    guess = f". Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"--data {text}: there is no {root}; {known}{guess}")
