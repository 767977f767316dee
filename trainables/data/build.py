"""Decoding of a whole source, in threads and in order, into the arrays of a store."""

import errno
import json
import shutil
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from search_spaces.space.errors import InputError
from search_spaces.space.space import Variant
from trainables.data.contents import Contents
from trainables.data.decode import BrokenImageError, Header, fit, in_channels, pixel_digest

Progress = Callable[[int, int], None]

_DEFAULT_SIDE = 64
_LARGEST_NATIVE_SIDE = 64
_CHUNK = 16  # images per task: starting a task costs about as much as decoding one small image

_Decoded = tuple[npt.NDArray[np.uint8], bytes]
_Result = TypeVar("_Result")


def write_arrays(
    folder: Path,
    contents: Contents,
    *,
    image_size: int | None,
    variant: Variant,
    threads: int,
    progress: Progress | None = None,
) -> list[dict[str, str]]:
    """Decode all images and write the files of a store: images, labels, official splits, digests, names.

    Args:
        folder: an empty folder.
        contents: the images to decode.
        image_size: side of the stored images in pixels; None as in `DataSpec`.
        variant: the variant of the images in `contents`.
        threads: number of decoding threads.
        progress: called with (images done, images in all).

    Returns:
        Path and reason of each broken image, which is left out.

    Raises:
        InputError: if no image is whole, or a file cannot be read.
        OSError: if `folder` cannot be written, or has too little room; the room is checked before decoding.
    """
    count = len(contents.names)
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    headers = _in_order(lambda chunk: [contents.header(i) for i in chunk], chunks, threads)
    side, channels = _geometry([header for chunk in headers for header in chunk], image_size)
    wanted, free = count * channels * side * side, shutil.disk_usage(folder).free
    if wanted > free:
        sizes = f"{wanted / 2**20:,.1f} MiB, and {free / 2**20:,.1f} MiB are free"
        raise OSError(errno.ENOSPC, f"its {count:,} images take {sizes}")

    def decode_chunk(chunk: range) -> list[_Decoded | str]:
        return [_decode_one(contents, i, side, channels, variant) for i in chunk]

    kept: list[int] = []
    digests: list[bytes] = []
    bad: list[dict[str, str]] = []
    results = _in_order(decode_chunk, chunks, threads)
    with closing(results), (folder / "images.npy").open("wb") as file:
        start = _write_npy_header(file, (count, channels, side, side))
        for chunk, decoded in zip(chunks, results, strict=True):
            for i, result in zip(chunk, decoded, strict=True):
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
            raise InputError(f"none of the {count} images can be decoded; {bad[0]['path']}: {bad[0]['reason']}")
        # The number of whole images is known only now; NumPy pads its header so that the count can be replaced.
        file.seek(0)
        end = _write_npy_header(file, (len(kept), channels, side, side))
        assert end == start
    np.save(folder / "labels.npy", contents.labels[kept])
    np.save(folder / "official.npy", contents.official[kept])
    np.save(folder / "digests.npy", np.frombuffer(b"".join(digests), np.uint8).reshape(len(kept), -1))
    (folder / "names.json").write_text(json.dumps([contents.names[i] for i in kept]))
    return bad


def _geometry(headers: Sequence[Header | None], image_size: int | None) -> tuple[int, int]:
    """Choose the side and the channels of a store from the images with a readable header."""
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


def _decode_one(contents: Contents, i: int, side: int, channels: int, variant: Variant) -> _Decoded | str:
    """Decode image i to its pixels and digest, or return the reason why it is broken."""
    try:
        image = in_channels(contents.image(i), channels)
    except BrokenImageError as error:
        return str(error)
    return fit(image, side, variant), pixel_digest(image)


def _in_order(work: Callable[[range], _Result], chunks: Sequence[range], threads: int) -> Generator[_Result]:
    """Do the work in threads and yield the results in order, never far ahead of the consumer."""
    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[_Result]] = deque()
    try:
        for chunk in chunks:
            pending.append(pool.submit(work, chunk))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write_npy_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write the header of a .npy file of bytes, and return its length."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()
