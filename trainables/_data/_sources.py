"""From what a person typed as the source to the source itself."""

import difflib

from search_spaces._errors import InputError
from trainables._data._arrays import Digits, FashionMNIST
from trainables._data._contents import Source, absolute
from trainables._data._folder import ImageFolder

_KNOWN = ("digits", "fashion_mnist:DIR")


def open_source(text: str) -> Source:
    """Find the source that a person named.

    Raises:
        InputError: if it is neither a known name nor a folder, or is not laid out as it should be.
    """
    name, _, folder = text.partition(":")
    if text == "digits":
        return Digits()
    if name == "fashion_mnist":
        if not folder:
            raise InputError(f"--data {text}: names no folder; give fashion_mnist:DIR, where DIR has the IDX .gz files")
        return FashionMNIST(absolute(folder))
    root = absolute(text)
    if root.is_dir():
        return ImageFolder(root)
    known = f"there are: {', '.join(_KNOWN)}, or the folder of an image data set"
    if root.exists():
        raise InputError(f"--data {text}: is a file; {known}")
    near = difflib.get_close_matches(name.lower(), [entry.partition(":")[0] for entry in _KNOWN], n=1)
    guess = f". Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"--data {text}: there is no {root}; {known}{guess}")
