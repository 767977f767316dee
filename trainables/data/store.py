"""The store of decoded images: a folder of memory-mapped arrays in the cache, shared by every process of a node.

A store is built in a folder beside its place and renamed into it, so an existing store is whole. The remains of a
killed build are removed by the next build.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from search_spaces.space.errors import InputError
from search_spaces.space.space import Variant
from trainables.data.build import Progress, write_arrays
from trainables.data.contents import Contents, Source, absolute
from trainables.data.decode import RESIZE_RULES
from trainables.storage.synced_folder import SyncedFolder

_FORMAT = 1  # raise it when the files of a store, or the pixels in them, change for the same source
_MANIFEST = "manifest.json"
_MOST_THREADS = 32  # more threads only wait for the interpreter's lock


@dataclass(frozen=True, kw_only=True)
class Store:
    """A whole store on disk, opened for reading; all arrays are in the order of the source.

    Attributes:
        path: its folder.
        key: the digest that names its folder.
        classes: names of the classes.
        images: uint8 (N, C, H, W), memory-mapped.
        labels: int64 (N,).
        official: int8 (N,), the source's own splits or UNASSIGNED.
        digests: uint8 (N, 16), of the pixels at full size.
        bad: path and reason of each image that could not be decoded and is not among the N.
    """

    path: Path
    key: str
    classes: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    official: npt.NDArray[np.int8]
    digests: npt.NDArray[np.uint8]
    bad: tuple[dict[str, str], ...]

    def names(self) -> list[str]:
        """Read the N paths relative to the source's folder; they are separate, as few callers need them."""
        names: list[str] = json.loads((self.path / "names.json").read_text())
        return names


def ensure_store(
    source: Source,
    *,
    image_size: int | None,
    variant: Variant = "whole",
    cache: Path,
    progress: Progress | None = None,
    threads: int | None = None,
) -> tuple[Store, bool]:
    """Open the store of a source, and build it first if there is no whole one.

    Args:
        source: the source of the images.
        image_size: side of the stored images in pixels; None as in `DataSpec`.
        variant: the variant that the source was opened with.
        cache: folder that holds the stores; created if missing.
        progress: called with (images done, images in all) while images are decoded.
        threads: number of decoding threads; None for one per core.

    Returns:
        The store, and True if this call decoded it.

    Raises:
        InputError: if the cache cannot be written or the source holds no whole image.
    """
    cache = absolute(cache)
    key = _key(source, image_size, variant)
    store = _open(cache / key)
    if store is not None:
        return store, False
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock_of(cache, key)):
            store = _open(cache / key)  # another process may have built it while this one waited
            if store is not None:
                return store, False
            _sweep(cache, own=key)
            from joblib import cpu_count  # late, as it takes time: most uses find the store

            threads = threads or min(cpu_count(), _MOST_THREADS)
            _build(source.contents(), image_size, variant, cache / key, progress, threads)
    except OSError as error:
        raise InputError(
            f"cannot write the image store to {cache}: {error.strerror or error}; "
            "give a cache folder that can be written and has room"
        ) from error
    store = _open(cache / key)
    assert store is not None
    return store, True


def share(store: Path, shared: str) -> None:
    """Copy the folder of a store to a place that other nodes see, unless it is there."""
    place = _shared(store, shared)
    if not place.exists(f"{store.name}/{_MANIFEST}"):
        place.push(store.name, last=_MANIFEST)


def bring(store: Path, shared: str) -> None:
    """Copy the folder of a store from the place given to `share`, unless it is here."""
    _shared(store, shared).pull_one(store.name, last=_MANIFEST)


def _shared(store: Path, shared: str) -> SyncedFolder:
    return SyncedFolder(store.parent, f"{shared}/.stores")


def _key(source: Source, image_size: int | None, variant: Variant) -> str:
    what = {
        "format": _FORMAT,
        "source": source.identity,
        "variant": variant,
        "image_size": image_size,
        "channels": "1 if all grey, else 3",
        "resize": RESIZE_RULES[variant],
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _open(path: Path) -> Store | None:
    """Open a store; return None if it is missing, of another format or damaged."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        whole = all((path / name).stat().st_size == size for name, size in manifest["files"].items())
        if manifest["format"] != _FORMAT or not whole:
            return None
        return Store(
            path=path,
            key=path.name,
            classes=tuple(manifest["classes"]),
            images=np.load(path / "images.npy", mmap_mode="r"),
            labels=np.load(path / "labels.npy"),
            official=np.load(path / "official.npy"),
            digests=np.load(path / "digests.npy"),
            bad=tuple(manifest["bad"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _lock_of(cache: Path, key: str) -> Path:
    return cache / f"{key}.lock"


def _building(cache: Path, key: str) -> Path:
    """Return the folder that a store is built in; its writer holds the lock of the key."""
    return cache / f"{key}.building"


def _sweep(cache: Path, own: str) -> None:
    """Remove remains of killed builds: all building folders whose lock is free, and that of `own`, locked here."""
    for folder in cache.glob("*.building"):
        if folder.stem == own:
            shutil.rmtree(folder)
            continue
        try:
            with FileLock(_lock_of(cache, folder.stem), timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except Timeout:
            continue


def _build(
    contents: Contents,
    image_size: int | None,
    variant: Variant,
    target: Path,
    progress: Progress | None,
    threads: int,
) -> None:
    """Decode all images into a new store at `target`, replacing a damaged one."""
    folder = _building(target.parent, target.name)
    folder.mkdir()
    try:
        bad = write_arrays(folder, contents, image_size=image_size, variant=variant, threads=threads, progress=progress)
        manifest = {
            "format": _FORMAT,
            "classes": contents.classes,
            "bad": bad,
            "files": {path.name: path.stat().st_size for path in folder.iterdir()},
        }
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
