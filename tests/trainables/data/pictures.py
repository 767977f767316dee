"""Small image files and folders for the tests to read."""

import gzip
import io
import pickle
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

FASHION = Path("/usr/share/datasets/fashion-mnist")
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


@cache
def _real() -> np.ndarray:
    """Real grey images: the test images of Fashion-MNIST, else digits."""
    if FASHION.is_dir():
        data = gzip.decompress((FASHION / "t10k-images-idx3-ubyte.gz").read_bytes())
        return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28)
    return np.rint(load_digits().images * (255 / 16)).astype(np.uint8)


def garment(i: int) -> np.ndarray:
    """Image i of Fashion-MNIST, 28 x 28 pixels; a digit of 8 x 8 where it is not on the machine."""
    return _real()[i]


def placed(i: int) -> tuple[np.ndarray, list[float]]:
    """Image i somewhere on a larger ground of noise, and its box."""
    rng = np.random.default_rng(i)
    ground = rng.integers(0, 256, (50, 60), np.uint8)
    side = len(garment(i))
    x, y = int(rng.integers(0, 60 - side)), int(rng.integers(0, 50 - side))
    ground[y : y + side, x : x + side] = garment(i)
    return ground, [float(x), float(y), float(side), float(side)]


def coloured(i: int) -> np.ndarray:
    """Image i in the middle of 32 x 32 pixels, in three colours."""
    grey = np.zeros((32, 32), np.uint8)
    edge = (32 - len(garment(i))) // 2
    grey[edge : 32 - edge, edge : 32 - edge] = garment(i)
    return np.stack([grey, grey // 2, 255 - grey], axis=-1)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def dump(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol=2))


def cifar_batch(number: int, rows: int = 40, **changed: object) -> dict[str, object]:
    """Batch 0 to 5 with the next real images, of all ten classes in turn."""
    images = np.stack([coloured(number * rows + i) for i in range(rows)])
    data = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(rows, -1)
    return {"batch_label": "of six", "data": data, "labels": [i % 10 for i in range(rows)], **changed}


def write_cifar(folder: Path, rows: int = 40) -> Path:
    """Write six small batches and the names of the classes, in the form of CIFAR-10."""
    for number, name in enumerate(BATCHES):
        dump(folder / name, cifar_batch(number, rows))
    names = [f"class {i}" for i in range(10)]
    dump(folder / "batches.meta", {"num_cases_per_batch": rows, "label_names": names, "num_vis": 3072})
    return folder


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
