"""Images of train that an experiment keeps."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.data.pictures import fill, garment, noise, save
from tests.trainables.data.shards import write_hub
from trainables.data import DataSpec, prepare
from tune.experiment.folder import ExperimentFolder
from tune.experiment.train_samples import EACH, MOST_CLASSES, Samples, chosen, keep_samples


def kept(folder: Path, source: Path | str, cache: Path, **options: object) -> Samples:
    """The samples of a data set, as they are read again."""
    prepare(DataSpec(source=str(source), **options), cache=cache).write(folder)  # type: ignore[arg-type]
    keep_samples(ExperimentFolder(folder))
    samples = Samples.of(ExperimentFolder(folder))
    assert samples is not None
    return samples


def test_six_images_of_each_class_are_kept_as_they_are(digits_folder: Path, tmp_path: Path, cache: Path) -> None:
    samples = kept(tmp_path, "digits", cache, limit=300)
    assert samples.images.shape == (60, 1, 8, 8)
    assert samples.images.dtype == np.uint8
    assert np.bincount(samples.labels).tolist() == [6] * 10
    assert len(set(samples.names.tolist())) == 60


def test_they_are_of_train_alone_and_have_their_own_names_and_labels(tmp_path: Path) -> None:
    counts = {"train/a": 3, "train/b": 9, "train/c": 9, "val/a": 2, "val/b": 2, "test/a": 2, "test/c": 2}
    root = fill(tmp_path / "data", counts)
    samples = kept(tmp_path / "x", root, tmp_path / "cache")
    assert samples.labels.tolist() == [1] * 6 + [2] * 6 + [0] * 3, "most images first, and alike ones by name"
    for image, label, name in zip(samples.images, samples.labels, samples.names.tolist(), strict=True):
        assert name.startswith(f"train/{'abc'[label]}/")
        np.testing.assert_array_equal(image, np.asarray(Image.open(root / name)).transpose(2, 0, 1))


def test_of_boxes_they_show_what_is_in_them(tmp_path: Path) -> None:
    write_hub(tmp_path / "data" / "x.parquet", range(60))
    samples = kept(tmp_path / "x", f"parquet:{tmp_path / 'data'}", tmp_path / "cache", variant="box")
    assert len(samples.names) == 18
    for image, name in zip(samples.images, samples.names.tolist(), strict=True):
        np.testing.assert_array_equal(image[0], garment(int(name.rpartition("/")[2])))


def test_the_same_data_give_the_same_file(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {"a": 30, "b": 30})
    for name in ("x", "y"):
        kept(tmp_path / name, root, tmp_path / "cache")
    assert (tmp_path / "x" / "samples.npz").read_bytes() == (tmp_path / "y" / "samples.npz").read_bytes()
    assert not list(tmp_path.glob("*/.*draft"))


def test_large_images_are_kept_small(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "data" / "ab"[number % 2] / f"{number}.png", noise(number, (130, 130)))
    samples = kept(tmp_path / "x", tmp_path / "data", tmp_path / "cache", image_size=128)
    assert samples.images.shape[1:] == (3, 96, 96)


def test_of_many_classes_those_with_the_most_images_are_kept() -> None:
    classes = [f"class {n:02d}" for n in range(40)]
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(40), np.arange(40) % 20))
    positions = chosen(labels, classes)
    found = labels[positions]
    assert len(positions) == len(set(positions.tolist())) == MOST_CLASSES * EACH
    assert list(dict.fromkeys(found.tolist())) == [19, 39, 18, 38, 17, 37, 16, 36, 15, 35, 14, 34]


def test_an_experiment_from_before_has_none(tmp_path: Path) -> None:
    assert Samples.of(ExperimentFolder(tmp_path)) is None


@pytest.mark.parametrize("name", ["\udcff/a.png", "猫 <b>.png"])
def test_any_name_of_a_file_comes_back(tmp_path: Path, name: str) -> None:
    experiment = ExperimentFolder(tmp_path)
    zeros = np.zeros((1, 3, 8, 8), np.uint8)
    Samples(images=zeros, labels=np.array([0]), names=np.array([name])).write(experiment)
    samples = Samples.of(experiment)
    assert samples is not None
    assert samples.names.tolist() == [name]
