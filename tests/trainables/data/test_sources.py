"""Rules for every data source."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import DataSpec, prepare
from trainables.data.contents import Source
from trainables.data.sources import open_source
from trainables.data.spec import UNASSIGNED

from .pictures import FASHION, coloured, fill, garment, png, save, write_cifar, write_fashion
from .shards import write_hub


def _folder(root: Path) -> DataSpec:
    return DataSpec(source=str(fill(root, {"train/a": 3, "train/b": 3, "val/a": 2})))


def _shards(root: Path, **options: object) -> DataSpec:
    write_hub(root / "train.parquet", range(12))
    write_hub(root / "val.parquet", range(12, 24))
    return DataSpec(source=f"parquet:{root}", **options)


SOURCES: dict[str, Callable[[Path], DataSpec]] = {
    "digits": lambda root: DataSpec(source="digits"),
    "fashion_mnist": lambda root: DataSpec(source=f"fashion_mnist:{write_fashion(root)}"),
    "cifar10": lambda root: DataSpec(source=f"cifar10:{write_cifar(root, rows=10)}"),
    "folder": _folder,
    "parquet": _shards,
    "parquet, boxes": lambda root: _shards(root, variant="box"),
}


@pytest.fixture(params=SOURCES)
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> DataSpec:
    return SOURCES[request.param](tmp_path / "data")


@pytest.fixture
def source(spec: DataSpec) -> Source:
    return open_source(spec)


def test_lists_are_of_one_length_and_labels_and_splits_in_their_range(source: Source) -> None:
    contents = source.contents()
    count = len(contents.names)
    assert contents.labels.shape == contents.official.shape == (count,)
    assert (contents.labels.dtype, contents.official.dtype) == (np.int64, np.int8)
    assert set(contents.labels.tolist()) <= set(range(len(contents.classes)))
    assert set(contents.official.tolist()) <= {UNASSIGNED, 0, 1, 2}
    assert len(set(contents.names)) == count
    assert len(set(contents.classes)) == len(contents.classes) > 1


def test_headers_say_what_the_images_are(source: Source) -> None:
    contents = source.contents()
    for i in (0, len(contents.names) - 1, 0):  # and back
        header, image = contents.header(i), contents.image(i)
        assert header is not None
        assert (header.width, header.height) == image.size
        assert image.mode == ("L" if header.grey else "RGB")


def test_a_source_is_the_same_each_time_it_is_opened(spec: DataSpec, source: Source) -> None:
    again = open_source(spec)
    assert json.dumps(again.identity) == json.dumps(source.identity)
    assert again.name == source.name
    assert (again.ignored, tuple(again.notes)) == (0, ())
    first, second = source.contents(), again.contents()
    assert first.names == second.names
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.image(5).tobytes() == second.image(5).tobytes()


def test_a_source_can_be_prepared(spec: DataSpec, tmp_path: Path) -> None:
    card = prepare(spec, cache=tmp_path / "cache").card
    assert card["images"]["train"] == card["shape"]["samples"] > 0
    assert card["images"]["val"] > 0


def test_the_same_images_are_the_same_data_as_folder_and_as_parquet(tmp_path: Path) -> None:
    """Names of classes and the order of images are alike; so the digest is too."""
    for i in range(30):
        split = "train" if i < 20 else "val"
        ours = i if i < 20 else i - 20
        save(tmp_path / "folder" / split / f"{i % 2}" / f"{ours // 2:03d}.png", Image.fromarray(garment(i)))
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "shards").mkdir()
    for split, rows in (("train", range(20)), ("val", range(20, 30))):
        ordered = sorted(rows, key=lambda i: i % 2)  # as a folder lists them
        table = pa.table({"image": [png(garment(i)) for i in ordered], "label": [str(i % 2) for i in ordered]})
        pq.write_table(table, tmp_path / "shards" / f"{split}.parquet")
    specs = (
        DataSpec(source=place, split=(0.8, 0.2, 0))
        for place in (str(tmp_path / "folder"), f"parquet:{tmp_path / 'shards'}")
    )
    first, second = (prepare(spec, cache=tmp_path / "cache") for spec in specs)
    assert first.digest == second.digest
    np.testing.assert_array_equal(first.store.images, second.store.images)


@pytest.mark.skipif(not FASHION.is_dir(), reason="Fashion-MNIST is not on this machine")
def test_cifar_batches_hold_what_the_published_garments_are(tmp_path: Path) -> None:
    published = open_source(DataSpec(source=f"fashion_mnist:{FASHION}")).contents()
    batches = open_source(DataSpec(source=f"cifar10:{write_cifar(tmp_path, rows=10)}")).contents()
    for i in range(60):
        red = np.asarray(batches.image(i))[2:30, 2:30, 0]
        np.testing.assert_array_equal(red, np.asarray(published.image(60_000 + i)))
        np.testing.assert_array_equal(np.asarray(batches.image(i)), coloured(i))
