"""Images decoded once: a folder of memory-mapped arrays under the cache, shared by every process of a node.

A store is built in a folder beside its place and renamed into it, so a store that is there is whole. What a
build that was killed leaves behind is swept by the next one.
"""

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from search_spaces._errors import InputError
from trainables._data._contents import Contents, Source, absolute
from trainables._data._decode import RESIZE_RULE, BrokenImageError, Header, fit, in_channels, pixel_digest

Progress = Callable[[int, int], None]
Result = TypeVar("Result")
_Decoded = tuple[npt.NDArray[np.uint8], bytes]

_FORMAT = (
    1  # raise it when the files of a store, or the pixels in them, come out otherwise for the same source
)
_LARGEST_NATIVE_SIDE = 64
_DEFAULT_SIDE = 64
_MOST_THREADS = 32  # beyond it they only wait for the interpreter's lock
_AHEAD = 64  # chunks decoded before they are written: decoded images must not pile up in memory
_CHUNK = 32  # images a task: a task costs about as much as decoding a small image


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
    cache: Path,
    progress: Progress | None = None,
    threads: int | None = None,
) -> tuple[Store, bool]:
    """Open the store of a source, and build it first if there is no whole one.

    Args:
        source: where the images come from.
        image_size: side of the stored images in pixels; None as in `DataSpec`.
        cache: folder that holds the stores; made if it is not there.
        progress: called with (images done, images in all) while images are decoded.
        threads: that decode; None for one a core.

    Returns:
        The store, and whether this call decoded it.

    Raises:
        InputError: if the cache cannot be written or the source holds no whole image.
    """
    cache = absolute(cache)
    key = _key(source, image_size)
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
            _build(source.contents(), image_size, cache / key, progress, threads)
    except OSError as error:
        raise InputError(
            f"cannot write the image store to {cache}: {error.strerror or error}; "
            "give a cache folder that can be written and has room"
        ) from error
    store = _open(cache / key)
    assert store is not None
    return store, True


def _key(source: Source, image_size: int | None) -> str:
    what = {
        "format": _FORMAT,
        "source": source.identity,
        "variant": "whole",  # of each image; others would be cut to a box
        "image_size": image_size,
        "channels": "1 if all grey, else 3",
        "resize": RESIZE_RULE,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _open(path: Path) -> Store | None:
    """Open a store, or find that it is missing, of another format or damaged."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
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
    contents: Contents, image_size: int | None, target: Path, progress: Progress | None, threads: int | None
) -> None:
    """Decode all images into a new store at `target`, replacing a damaged one."""
    folder = _building(target.parent, target.name)
    folder.mkdir()
    try:
        with ThreadPoolExecutor(threads or min(_cores(), _MOST_THREADS)) as pool:
            _fill(folder, contents, image_size, pool, progress)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _fill(
    folder: Path,
    contents: Contents,
    image_size: int | None,
    pool: ThreadPoolExecutor,
    progress: Progress | None,
) -> None:
    count = len(contents.names)
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    headers = _in_order(pool, lambda chunk: [contents.header(i) for i in chunk], chunks)
    side, channels = _geometry([header for chunk in headers for header in chunk], image_size)

    def decode(chunk: range) -> list[_Decoded | str]:
        return [_decode_one(contents, i, side, channels) for i in chunk]

    kept: list[int] = []
    digests: list[bytes] = []
    bad: list[dict[str, str]] = []
    with (folder / "images.npy").open("wb") as file:
        start = _write_npy_header(file, (count, channels, side, side))
        for chunk, results in zip(chunks, _in_order(pool, decode, chunks), strict=True):
            for i, result in zip(chunk, results, strict=True):
                if isinstance(result, str):
                    bad.append({"path": contents.names[i], "reason": result})
                    continue
                pixels, digest = result
                file.write(pixels.data)
                kept.append(i)
                digests.append(digest)
            if progress is not None:
                progress(chunk.stop, count)
        if not kept:
            raise InputError(
                f"none of the {count} images can be decoded; {bad[0]['path']}: {bad[0]['reason']}"
            )
        file.seek(0)
        assert _write_npy_header(file, (len(kept), channels, side, side)) == start  # NumPy pads it for growth
    np.save(folder / "labels.npy", contents.labels[kept])
    np.save(folder / "official.npy", contents.official[kept])
    np.save(folder / "digests.npy", np.frombuffer(b"".join(digests), np.uint8).reshape(len(kept), -1))
    (folder / "names.json").write_text(json.dumps([contents.names[i] for i in kept]))
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    manifest = {"format": _FORMAT, "classes": contents.classes, "bad": bad, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def _geometry(headers: list[Header | None], image_size: int | None) -> tuple[int, int]:
    """Choose the side and the channels of a store by the images whose header could be read."""
    known = [header for header in headers if header is not None]
    channels = 1 if all(header.grey for header in known) else 3
    if image_size is not None:
        return image_size, channels
    sizes = {(header.width, header.height) for header in known}
    if len(sizes) == 1:
        width, height = sizes.pop()
        if width == height <= _LARGEST_NATIVE_SIDE:
            return width, channels
    return _DEFAULT_SIDE, channels


def _decode_one(contents: Contents, i: int, side: int, channels: int) -> _Decoded | str:
    """Decode image i to its pixels and digest, or say why it is broken."""
    try:
        image = in_channels(contents.image(i), channels)
    except BrokenImageError as error:
        return str(error)
    return fit(image, side), pixel_digest(image)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[range], Result], chunks: Sequence[range]
) -> Iterator[Result]:
    """Do the work in threads and yield its results in order, at most _AHEAD chunks before they are taken."""
    pending: deque[Future[Result]] = deque()
    for chunk in chunks:
        pending.append(pool.submit(work, chunk))
        if len(pending) >= _AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _write_npy_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write the header of a .npy file of bytes, and return its length."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
