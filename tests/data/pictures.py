"""Small image files and folders for the tests to read."""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image


def noise(seed: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Image.Image:
    """A picture that no other seed has."""
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def save(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def fill(root: Path, layout: dict[str, int], **options: object) -> Path:
    """Write so many different pictures into each folder: {"train/cat": 5, ...}."""
    seed = 0
    for folder, count in layout.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            save(root / folder / f"{i:03d}.png", noise(seed, **options))
            seed += 1
    return root


def write_idx(path: Path, array: np.ndarray, magic: int | None = None) -> Path:
    """Write a gzipped IDX file of bytes."""
    start = np.array([0x800 + array.ndim if magic is None else magic, *array.shape], ">u4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(start + array.astype(np.uint8).tobytes()))
    return path


def write_fashion(folder: Path, train: int = 60, test: int = 20, side: int = 6) -> Path:
    """Write four small files of the form of Fashion-MNIST, all ten classes in turn."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, side, side)))
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    return folder
