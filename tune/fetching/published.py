"""The data sets of published experiments: their sources, and the places of their files."""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from tune.fetching.download import Remote
from tune.fetching.web_requests import UnreachableError, read_list

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Published:
    """A data set.

    Attributes:
        page: the web page that describes it and may offer it for download.
        copy: the name of the download there, in words.
        files: returns the files to download, and is called at the download; None if that takes a login.
        place: returns the place of an archive's file in the folder; None for a file that is left out.
        lacking: returns what a folder with these files lacks; empty for nothing.
        arrange: returns the final place of each file, by its first place; None if files stay there.
        data: the value for `--data`, with {} for the folder.
        size: bytes of the folder, about.
        limit: bytes that an archive may unpack to.
        checksum: of the archive, if one is published.
        preset: the published experiment on it.
        archived: True if the files are archives to unpack, False if they are Parquet shards to be taken as they are.
    """

    page: str
    copy: str
    files: Callable[[], list[Remote]] | None
    place: Callable[[PurePosixPath], str | None]
    lacking: Callable[[Iterable[str]], str]
    arrange: Callable[[list[str]], Mapping[str, str]] | None = None
    data: str = "{}"
    size: int
    limit: int
    checksum: str | None = None
    archived: bool = True
    preset: str


def shards_of(repository: str, api: str = "https://huggingface.co") -> list[Remote]:
    """Return the Parquet files in data/ of a data set on the Hugging Face hub, each with its SHA-256.

    Raises:
        UnreachableError: the hub does not answer, or lists no Parquet files.
    """
    listing = f"{api}/api/datasets/{repository}/tree/main/data"
    try:
        shards = [
            Remote(
                url=f"{api}/datasets/{repository}/resolve/main/{quote(entry['path'])}",
                size=int(entry["size"]),
                checksum=f"sha256:{entry['lfs']['oid']}" if entry.get("lfs") else None,
            )
            for entry in read_list(listing)
            if entry["path"].endswith(".parquet")
        ]
        if not shards:
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UnreachableError(f"{listing} lists no .parquet files") from None
    return shards


def split(placed: list[str], seed: int = 0) -> dict[str, str]:
    """Assign each class's files to train, val and test: 70% and 15%, rounded down, and the rest.

    Args:
        placed: CLASS/NAME of each file.
        seed: of the order, which is a shuffle of the sorted names.

    Returns:
        SPLIT/CLASS/NAME of each file, by its first place.
    """
    of_class = defaultdict(list)
    for path in sorted(placed):
        of_class[path.partition("/")[0]].append(path)
    arranged = {}
    for paths in of_class.values():
        rng = random.Random(seed)
        paths.sort(key=lambda path: rng.random())  # random() draws the same numbers in all versions of Python
        train, val = len(paths) * 70 // 100, len(paths) * 15 // 100
        for n, path in enumerate(paths):
            arranged[path] = f"{'train' if n < train else 'val' if n < train + val else 'test'}/{path}"
    return arranged


def _file_below(pattern: str) -> Callable[[PurePosixPath], str | None]:
    """Return a function that gives a path's end that matches `pattern`, which begins with a folder, or None."""
    tail = re.compile(rf"(?:.*/)?({pattern})", re.ASCII)

    def place(path: PurePosixPath) -> str | None:
        match = tail.fullmatch(str(path))
        return match[1] if match else None

    return place


def _breed(path: PurePosixPath) -> str | None:
    match = re.fullmatch(r"(?:.*/)?(n\d{8})-[^/]+/([\w.-]+\.(?i:jpe?g))", str(path), re.ASCII)
    return f"{BREEDS[match[1]]}/{match[2]}" if match and match[1] in BREEDS else None


def _flower(path: PurePosixPath) -> str | None:
    """Return the place of flowers/CLASS/NAME.jpg; some versions hold all files once more, in flowers/flowers/."""
    match = re.fullmatch(r"(?:\./)?flowers/(\w+)/([\w.-]+\.(?i:jpe?g))", str(path), re.ASCII)
    return f"{match[1]}/{match[2]}" if match and match[1] in FLOWERS else None


def _shard(path: PurePosixPath) -> str | None:
    return path.name if re.fullmatch(r"[\w.-]+\.parquet", path.name, re.ASCII) else None


def _lacks_files(names: Iterable[str]) -> Callable[[Iterable[str]], str]:
    return lambda placed: ", ".join(sorted(set(names) - set(placed)))


def _lacks_classes(classes: Iterable[str]) -> Callable[[Iterable[str]], str]:
    return lambda placed: ", ".join(f"images of {name}" for name in classes if not _any_below(name, placed))


def _any_below(folder: str, placed: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for path in placed)


BREEDS = {
    "n02088364": "beagle",
    "n02108089": "boxer",
    "n02106662": "german_shepherd",
    "n02099601": "golden_retriever",
    "n02113624": "toy_poodle",
}
"""The five breeds in use of the 120 of Stanford Dogs, by their WordNet number."""

FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")

CIFAR10_FILES = [
    f"cifar-10-batches-py/{name}" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
]

CIFAR10 = Remote(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    size=170_498_071,
    checksum="md5:c58f30108f718f92721af3b95e74349a",
)
STANFORD_DOGS = Remote(url="http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar")
PRODUCT_MASKS = "Nfiniteai/product-masks-sample"

DATA_SETS = {
    "cifar10": Published(
        preset="cifar10_classic",
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        copy="cifar-10-python.tar.gz",
        files=lambda: [CIFAR10],
        place=_file_below("cifar-10-batches-py/(?:data_batch_[1-5]|test_batch|batches[.]meta)"),
        lacking=_lacks_files(CIFAR10_FILES),
        data="cifar10:{}",
        size=180 * MIB,
        limit=400 * MIB,
        checksum=CIFAR10.checksum,
    ),
    "product_masks": Published(
        preset="product_masks",
        page=f"https://huggingface.co/datasets/{PRODUCT_MASKS}",
        copy="the .parquet files of data/",
        files=lambda: shards_of(PRODUCT_MASKS),
        place=_shard,
        lacking=lambda placed: "" if list(placed) else "a .parquet file",
        data="parquet:{}",
        size=0,  # the shards as they are downloaded
        limit=20_000 * MIB,
        archived=False,
    ),
    "dog_breeds": Published(
        preset="dog_breeds",
        page="http://vision.stanford.edu/aditya86/ImageNetDogs/",
        copy="images.tar",
        files=lambda: [STANFORD_DOGS],
        place=_breed,
        lacking=_lacks_classes(BREEDS.values()),
        arrange=split,
        size=40 * MIB,
        limit=2_000 * MIB,
    ),
    "flowers": Published(
        preset="flowers_cnn",
        page="https://www.kaggle.com/datasets/alxmamaev/flowers-recognition",
        copy="the zip",
        files=None,
        place=_flower,
        lacking=_lacks_classes(FLOWERS),
        size=240 * MIB,
        limit=2_000 * MIB,
    ),
}
