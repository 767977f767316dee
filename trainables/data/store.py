"""Images decoded once: a folder of memory-mapped arrays under the cache, shared by every process of a node.

A store is built in a folder beside its place and renamed into it, so a store that is there is whole. What a
build that was killed leaves behind is swept by the next one.
"""

import hashlib
import json
import os
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

_FORMAT = 1  # raise it when the files of a store, or the pixels in them, come out otherwise for the same source
_MANIFEST = "manifest.json"
_MOST_THREADS = 32  # beyond it they only wait for the interpreter's lock


@dataclass(frozen=True, kw_only=True)
class Store:
    """A whole store on disk, opened for reading; all arrays are in the order of the source.

    Attributes:
        path: its folder.
        key: the digest it is kept under.
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
        """Read the N paths relative to the source's folder (apart from the rest, as few need them)."""
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
        source: where the images come from.
        image_size: side of the stored images in pixels; None as in `DataSpec`.
        variant: what the source was opened to give of each image.
        cache: folder that holds the stores; made if it is not there.
        progress: called with (images done, images in all) while images are decoded.
        threads: that decode; None for one a core.

    Returns:
        The store, and whether this call decoded it.

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
            threads = threads or min(_cores(), _MOST_THREADS)
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
    """Copy the folder of a store to where other machines find it, unless it is there."""
    place = _shared(store, shared)
    if not place.exists(f"{store.name}/{_MANIFEST}"):
        place.push(store.name, last=_MANIFEST)


def bring(store: Path, shared: str) -> None:
    """Copy the folder of a store from there, unless it is here."""
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
    """Open a store, or find that it is missing, of another format or damaged."""
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
    """The folder that a store is built in; the lock of its key is held by whoever writes there."""
    return cache / f"{key}.building"


def _sweep(cache: Path, own: str) -> None:
    """Remove what killed builds left: all building folders whose lock is free; that of `own` is held here."""
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


def _cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
