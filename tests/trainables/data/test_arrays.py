import gzip
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from search_spaces.space.errors import InputError
from trainables.data import DataSpec, prepare
from trainables.data.arrays import FashionMNIST

from .pictures import FASHION, write_fashion, write_idx

IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"


def test_digits_are_scaled_from_0_16_to_0_255(tmp_path: Path) -> None:
    prepared = prepare(DataSpec(source="digits"), cache=tmp_path)
    bunch = load_digits()
    np.testing.assert_allclose(prepared.store.images[:, 0], bunch.images * 255 / 16, atol=0.5)
    np.testing.assert_array_equal(prepared.store.labels, bunch.target)
    assert prepared.store.images.max() == 255
    assert prepared.store.classes == tuple("0123456789")
    assert prepared.shape.samples == pytest.approx(0.70 * 1797, abs=5)
    assert {split: len(rows) for split, rows in prepared.splits.items()} == prepared.card["images"]
    assert sum(prepared.card["images"].values()) == 1797


def test_digits_can_be_enlarged(tmp_path: Path) -> None:
    assert prepare(DataSpec(source="digits", image_size=12), cache=tmp_path).shape.height == 12


def test_fashion_mnist_keeps_its_test_and_takes_val_from_train(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path / "fm", train=200, test=20)
    prepared = prepare(DataSpec(source=f"fashion_mnist:{folder}"), cache=tmp_path / "cache")
    assert prepared.card["images"] == {"train": 160, "val": 40, "test": 20}
    assert prepared.splits["test"].tolist() == list(range(200, 220))
    assert prepared.card["splits_of_source"] == ["train", "test"]
    assert prepared.store.classes[0] == "T-shirt/top"
    assert prepared.store.classes[9] == "Ankle boot"
    assert prepared.store.names()[199:201] == ["train/00199", "test/00000"]
    with gzip.open(folder / IMAGES) as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(200, 1, 6, 6)
    np.testing.assert_array_equal(prepared.store.images[:200], pixels)
    assert prepared.store.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


@pytest.mark.skipif(not FASHION.is_dir(), reason="Fashion-MNIST is not on this machine")
def test_the_published_files_are_read() -> None:
    contents = FashionMNIST(FASHION).contents()
    assert np.bincount(contents.labels[:60_000]).tolist() == [6000] * 10
    assert np.bincount(contents.labels[60_000:]).tolist() == [1000] * 10
    assert contents.image(0).size == (28, 28)
    assert contents.classes[contents.labels[0]] == "Ankle boot"


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path)
    (folder / LABELS).unlink()
    with pytest.raises(InputError, match=f"lacks {LABELS}: the folder must have {IMAGES}, {LABELS}, t10k"):
        FashionMNIST(folder)


def test_a_file_that_is_not_gzip_is_named(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path)
    (folder / IMAGES).write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=f"{IMAGES} is not a whole gzip file .*download it again"):
        FashionMNIST(folder).contents()


def test_a_truncated_gzip_file_is_named(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path)
    (folder / IMAGES).write_bytes((folder / IMAGES).read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{IMAGES} is not a whole gzip file"):
        FashionMNIST(folder).contents()


@pytest.mark.parametrize(
    ("name", "array", "magic", "message"),
    [
        (IMAGES, np.zeros((60, 6, 6)), 0x802, "starts with 00000802, but an IDX file of bytes with 3 dim"),
        (IMAGES, np.zeros((60, 6)), None, "starts with 00000802, but"),
        (LABELS, np.zeros((60, 6, 6)), None, "starts with 00000803, but an IDX file of bytes with 1 dim"),
        (IMAGES, np.zeros((59, 6, 6)), None, "has 59 images but train-labels.* has 60 labels"),
        (LABELS, np.full(60, 10), None, "has label 10, but labels must be 0 to 9"),
        (IMAGES, np.zeros((60, 7, 7)), None, r"images of \(7, 7\) pixels in train but \(6, 6\) in test"),
        (IMAGES, np.zeros((0, 6, 6)), None, r"says it holds \(0, 6, 6\) bytes but holds 0"),
    ],
)
def test_an_idx_file_of_other_content_is_named(
    tmp_path: Path, name: str, array: np.ndarray, magic: int | None, message: str
) -> None:
    folder = write_fashion(tmp_path)
    write_idx(folder / name, array, magic)
    with pytest.raises(InputError, match=message):
        FashionMNIST(folder).contents()


def test_an_idx_file_that_says_more_than_it_holds_is_named(tmp_path: Path) -> None:
    folder = write_fashion(tmp_path)
    data = gzip.decompress((folder / LABELS).read_bytes())
    (folder / LABELS).write_bytes(gzip.compress(data[:-1]))
    with pytest.raises(InputError, match=r"says it holds \(60,\) bytes but holds 59"):
        FashionMNIST(folder).contents()


def test_groups_are_refused_where_there_are_no_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--group-by searches in paths, but --data digits is not an image folder"):
        prepare(DataSpec(source="digits", group_by="x"), cache=tmp_path)
