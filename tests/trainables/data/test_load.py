import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from search_spaces.space.errors import InputError
from trainables.data import DataSpec, Split, bring_store, load_test, load_train, prepare
from trainables.data.load import copied_rows, fits
from trainables.data.memory import _below_limit, free_memory

from .pictures import fill

CPU = torch.device("cpu")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set, its store and an experiment. Only to be copied or read."""
    base = tmp_path_factory.mktemp("load")
    root = fill(base / "data", {"a": 40, "b": 60})
    prepare(DataSpec(source=str(root)), cache=base / "cache").write(base / "experiment")
    return base


@pytest.fixture
def experiment(prepared_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared_once / "experiment", tmp_path / "experiment"))


def test_train_and_val_hold_the_images_of_their_rows(experiment: Path, prepared_once: Path) -> None:
    data = load_train(experiment, CPU)
    assert data.classes == ("a", "b")
    assert data.shape.samples == len(data.train) == 70
    assert len(data.val) == 15
    assert data.device == CPU
    store = next((prepared_once / "cache").glob("*/images.npy"))
    rows = np.load(experiment / "splits" / "val.npy")
    images, labels = data.val.arrays()
    np.testing.assert_array_equal(images, np.load(store)[rows])
    np.testing.assert_array_equal(labels, np.load(store.parent / "labels.npy")[rows])


def test_loading_train_never_opens_the_test_split(experiment: Path) -> None:
    (experiment / "splits" / "test.npy").unlink()
    data = load_train(experiment, CPU)
    for split in (data.train, data.val):
        for images, _ in split.batches(32):
            assert images.shape[1:] == (3, 8, 8)
    with pytest.raises(FileNotFoundError):
        load_test(experiment, CPU)


def test_test_is_loaded_by_the_one_function_for_it(experiment: Path) -> None:
    test = load_test(experiment, CPU)
    assert len(test) == 15
    seen = {row.tobytes() for row in test.arrays()[0]}
    data = load_train(experiment, CPU)
    for split in (data.train, data.val):
        assert not seen & {row.tobytes() for row in split.arrays()[0]}


def test_a_test_split_that_there_is_not_cannot_be_loaded(prepared_once: Path, tmp_path: Path) -> None:
    spec = DataSpec(source=str(prepared_once / "data"), split=(0.8, 0.2, 0))
    prepare(spec, cache=prepared_once / "cache").write(tmp_path)
    assert len(load_train(tmp_path, CPU).val) == 20
    with pytest.raises(InputError, match="has no test split, as --split left it none: report figures on val"):
        load_test(tmp_path, CPU)


def test_labels_are_those_of_the_search_and_not_of_the_store(tmp_path: Path) -> None:
    layout = {"train/C": 4, "train/a": 3, "train/b": 2, "train/c": 1, "val/b": 2, "val/c": 1}
    spec = DataSpec(
        source=str(fill(tmp_path / "data", layout)),
        split=(0.8, 0.2, 0),
        normalize_classes=True,
        drop_unseen_classes=True,
    )
    prepare(spec, cache=tmp_path / "cache").write(tmp_path / "experiment")
    data = load_train(tmp_path / "experiment", CPU)
    assert data.classes == ("b", "c")
    assert data.train.labels.bincount().tolist() == [2, 5]
    assert data.val.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("device", DEVICES)
def test_streamed_batches_equal_resident_ones(experiment: Path, device: str) -> None:
    on = torch.device(device)
    resident = load_train(experiment, on, resident=True).train
    streamed = load_train(experiment, on, resident=False).train
    assert resident.resident
    assert not streamed.resident
    indices = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    indices = torch.cat([indices[:33], indices[:3]])  # some twice
    for at in (indices, indices.to(on)):
        for ours, theirs in zip(resident.batch(at), streamed.batch(at), strict=True):
            assert ours.device.type == theirs.device.type == device
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)
    for ours, theirs in zip(resident.batches(32), streamed.batches(32), strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
    for ours, theirs in zip(resident.arrays(), streamed.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("device", DEVICES)
def test_a_split_is_loaded_in_parts(experiment: Path, device: str) -> None:
    whole, _ = load_train(experiment, CPU).train.arrays()
    rows = np.arange(0, len(whole), 2)
    copied = copied_rows(whole, rows, torch.device(device), at_once=1000)
    np.testing.assert_array_equal(copied.cpu(), whole[::2])


@pytest.mark.parametrize("resident", [True, False])
def test_batches_come_in_order_and_of_the_size_asked_for(experiment: Path, resident: bool) -> None:
    split = load_train(experiment, CPU, resident=resident).train
    batches = list(split.batches(32))
    assert [len(labels) for _, labels in batches] == [32, 32, 6]
    assert torch.equal(torch.cat([labels for _, labels in batches]), split.labels)
    assert batches[0][0].dtype == torch.uint8
    assert split.labels.dtype == torch.int64


@pytest.mark.parametrize("resident", [True, False])
def test_changing_a_batch_or_an_array_does_not_change_the_split(experiment: Path, resident: bool) -> None:
    split = load_train(experiment, CPU, resident=resident).train
    images, labels = split.arrays()
    for batch in (*split.batches(16), split.batch(torch.arange(70))):
        batch[0].zero_()
        batch[1].fill_(9)
    taken = split.arrays()
    taken[0][:] = 0
    taken[1][:] = 9
    again = [torch.cat(parts) for parts in zip(*split.batches(16), strict=True)]
    np.testing.assert_array_equal(again[0], images)
    np.testing.assert_array_equal(again[1], labels)


@pytest.mark.parametrize("resident", [True, False])
def test_an_index_outside_the_split_is_an_error(experiment: Path, resident: bool) -> None:
    split = load_train(experiment, CPU, resident=resident).val
    for index in (15, -1):
        with pytest.raises(IndexError):
            split.batch(torch.tensor([index]))


@pytest.mark.parametrize(("free", "resident"), [(4 * 70 * 192, True), (4 * 70 * 192 - 4, False)])
def test_a_split_is_resident_if_it_fits_in_a_quarter_of_the_free_memory(free: int, resident: bool) -> None:
    assert fits(70 * 192, free) is resident


@pytest.mark.parametrize(("device", "resident"), [("cpu", True), ("meta", False)])  # meta tensors have no memory
def test_a_split_looks_at_the_free_memory_of_its_device(experiment: Path, device: str, resident: bool) -> None:
    assert load_train(experiment, torch.device(device)).train.resident is resident


def test_an_empty_split_has_no_batches() -> None:
    images, rows = np.zeros((3, 1, 2, 2), np.uint8), np.array([], np.int64)
    split = Split(images, np.zeros(3, np.int64), rows, CPU)
    assert len(split) == 0
    assert list(split.batches(4)) == []


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no data\.json: it is not an experiment with prepared data"):
        load_train(tmp_path, CPU)


def test_a_machine_without_the_store_makes_its_own(prepared_once: Path, experiment: Path, tmp_path: Path) -> None:
    """A cluster node does this; its data may be a later copy in another place."""
    card = json.loads((experiment / "data.json").read_text())
    spec = {
        **card["spec"],
        "source": shutil.copytree(prepared_once / "data", tmp_path / "data", copy_function=shutil.copy),
    }
    store = tmp_path / "cache" / card["store_key"]
    (experiment / "data.json").write_text(json.dumps({**card, "spec": spec, "store": store}, default=str))
    here, there = load_train(experiment, CPU).train, load_train(prepared_once / "experiment", CPU).train
    np.testing.assert_array_equal(here.arrays()[0], there.arrays()[0])
    (made,) = (tmp_path / "cache").glob("*/")
    assert made != store
    before = made.stat()
    load_train(experiment, CPU)
    assert made.stat() == before, "it is made once"


def test_a_machine_that_does_not_see_the_data_has_images_from_the_one_that_decoded_them(tmp_path: Path) -> None:
    experiment, shared = tmp_path / "experiment", tmp_path / "sha red%20"
    prepared = prepare(DataSpec(source=str(fill(tmp_path / "data", {"a": 20, "b": 20}))), cache=tmp_path / "cache")
    prepared.write(experiment)
    images = load_train(experiment, CPU).train.arrays()[0]
    prepared.share(str(shared))
    file = shared / ".stores" / prepared.store.key / "images.npy"
    written = file.stat()
    prepared.share(str(shared))
    assert file.stat() == written, "it is written once"
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(tmp_path / "cache")
    bring_store(experiment, str(shared))
    np.testing.assert_array_equal(load_train(experiment, CPU).train.arrays()[0], images)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(FileNotFoundError):
        bring_store(experiment, str(tmp_path / "elsewhere"))


def test_a_machine_that_sees_other_images_is_refused(prepared_once: Path, experiment: Path, tmp_path: Path) -> None:
    card = json.loads((experiment / "data.json").read_text())
    data = Path(shutil.copytree(prepared_once / "data", tmp_path / "data"))
    (data / "a" / "000.png").write_bytes((data / "a" / "001.png").read_bytes())
    spec = {**card["spec"], "source": str(data)}
    (experiment / "data.json").write_text(
        json.dumps({**card, "spec": spec, "store": str(tmp_path / "cache" / "other")})
    )
    with pytest.raises(
        InputError, match=r"--data .*data: has not the images on .* with which the experiment was begun"
    ):
        load_train(experiment, CPU)
    shutil.rmtree(data)
    with pytest.raises(InputError, match=r"--data .*data: there is no"):
        load_train(experiment, CPU)


def test_a_damaged_store_is_refused(prepared_once: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(prepared_once, tmp_path / "copy"))
    card = (base / "experiment" / "data.json").read_text()
    (base / "experiment" / "data.json").write_text(card.replace(str(prepared_once / "cache"), str(base / "cache")))
    next((base / "cache").glob("*/images.npy")).write_bytes(b"")
    with pytest.raises(InputError, match=r"the image store .* is damaged .*: delete it, and it is made again from"):
        load_train(base / "experiment", CPU)


def test_free_memory_is_within_the_limit_of_the_container(tmp_path: Path) -> None:
    assert 2**20 < free_memory(CPU) < 2**50
    assert _below_limit(tmp_path) == 2**63
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert _below_limit(tmp_path) == 2**63
    (tmp_path / "memory.max").write_text("1000\n")
    assert _below_limit(tmp_path) == 700
