import os
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces.space.errors import InputError
from trainables.data import DataSpec, prepare
from trainables.data.cifar10 import CIFAR10

from .pictures import BATCHES, cifar_batch, coloured, dump, write_cifar

ROWS = 40


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of the seven files."""
    folder = write_cifar(tmp_path_factory.mktemp("cifar"), ROWS)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path, written: dict[str, bytes]) -> Path:
    for name, data in written.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_batches_keep_their_split_and_give_back_the_pixels(folder: Path, tmp_path: Path) -> None:
    prepared = prepare(DataSpec(source=f"cifar10:{folder}"), cache=tmp_path / "cache")
    assert prepared.card["images"] == {"train": 160, "val": 40, "test": 40}
    assert prepared.card["splits_of_source"] == ["train", "test"]
    assert prepared.splits["test"].tolist() == list(range(200, 240))
    assert prepared.store.names()[199:201] == ["data_batch_5/0039", "test_batch/0000"]
    assert prepared.store.classes == tuple(f"class {i}" for i in range(10))
    assert prepared.store.labels[:12].tolist() == [*range(10), 0, 1]
    for i in range(240):
        np.testing.assert_array_equal(prepared.store.images[i].transpose(1, 2, 0), coloured(i))


def test_the_folder_of_the_archive_is_found_inside(folder: Path) -> None:
    inner = folder / "cifar-10-batches-py"
    inner.mkdir()
    for name in (*BATCHES, "batches.meta"):
        (folder / name).rename(inner / name)
    assert len(CIFAR10(folder).contents().names) == 240


def test_a_batch_as_python_2_wrote_it_is_read_without_a_warning(folder: Path) -> None:
    """Bytes are plain strings there, the dtype's flags are 0 and 1, and NumPy is of before version 2."""
    batch = cifar_batch(0)
    data, labels = batch["data"], batch["labels"]

    def text(value: bytes) -> bytes:
        return b"T" + len(value).to_bytes(4, "little") + value

    old = (
        b"\x80\x02}(" + text(b"data") + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t"
        + text(b"b") + b"tR(K\x01(M" + ROWS.to_bytes(2, "little") + b"M" + (3072).to_bytes(2, "little")
        + b"tcnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(data.tobytes()) + b"tb"
        + text(b"labels") + b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"eu."
    )  # fmt: skip
    (folder / "data_batch_1").write_bytes(old)
    contents = CIFAR10(folder).contents()
    np.testing.assert_array_equal(np.asarray(contents.image(7)), coloured(7))


def test_a_batch_that_numpy_1_wrote_is_read(folder: Path) -> None:
    data = (folder / "data_batch_1").read_bytes()
    assert b"cnumpy._core.multiarray\n" in data
    (folder / "data_batch_1").write_bytes(data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert len(CIFAR10(folder).contents().names) == 240


class _Runs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(folder: Path) -> None:
    dump(folder / "data_batch_3", cifar_batch(2, extra=_Runs(folder / "was-run")))
    with pytest.raises(InputError, match=r"data_batch_3 holds \w+\.mkdir, which a batch of CIFAR-10 does not"):
        CIFAR10(folder).contents()
    assert not (folder / "was-run").exists()


def test_nothing_but_arrays_of_numbers_can_be_rebuilt(folder: Path) -> None:
    dump(folder / "data_batch_3", cifar_batch(2, extra=np.array([None, 1], dtype=object)))
    with pytest.raises(InputError, match=r"data_batch_3 is not a whole pickle \(an array of object\)"):
        CIFAR10(folder).contents()


@pytest.mark.parametrize("part", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_named(folder: Path, written: dict[str, bytes], part: float) -> None:
    data = written["data_batch_2"]
    (folder / "data_batch_2").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=r"data_batch_2 is not a whole pickle \(.*\): download it again"):
        CIFAR10(folder).contents()


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "data_batch_4").unlink()
    (folder / "batches.meta").unlink()
    with pytest.raises(
        InputError, match=r"lacks data_batch_4, batches\.meta: the folder, or cifar-10-batches-py in it"
    ):
        CIFAR10(folder)


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("test_batch", {"labels": [0] * 39}, "has 40 images but not as many whole numbers as labels"),
        ("test_batch", {"labels": [0.5] * 40}, "has 40 images but not as many whole numbers as labels"),
        ("test_batch", {"labels": [[1], [1, 2]]}, "has 40 images but not as many whole numbers as labels"),
        ("test_batch", {"labels": [9] * 39 + [10]}, "has label 10, but labels must be 0 to 9"),
        ("test_batch", {"labels": [9] * 39 + [-1]}, "has label -1, but labels must be 0 to 9"),
        ("data_batch_1", {"data": np.zeros((39, 3072), np.uint8)}, r"has uint8 \(39, 3072\) as data, .*\(40, 3072\)"),
        ("data_batch_1", {"data": np.zeros((40, 784), np.uint8)}, r"has uint8 \(40, 784\) as data"),
        ("data_batch_1", {"data": np.zeros((40, 3072), np.int16)}, r"has int16 \(40, 3072\) as data"),
        ("data_batch_1", {"data": [1, 2]}, "has list as data"),
    ],
)
def test_a_batch_of_other_content_is_named(folder: Path, name: str, changed: dict[str, Any], message: str) -> None:
    dump(folder / name, cifar_batch(0, **changed))
    with pytest.raises(InputError, match=f"{name} {message}"):
        CIFAR10(folder).contents()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "data_batch_1",
            {"data": 0, "fine_labels": [], "coarse_labels": []},
            "has data, fine_labels, coarse_labels but",
        ),
        ("data_batch_1", [1, 2], "holds list, but must hold a mapping"),
        ("data_batch_1", {}, "has nothing but must have data and labels"),
        ("batches.meta", {"fine_label_names": []}, "has fine_label_names but must have label_names and num_cases"),
        (
            "batches.meta",
            {"label_names": ["a", "b"], "num_cases_per_batch": 40},
            "names 2 classes, but CIFAR-10 has 10",
        ),
    ],
)
def test_files_of_another_data_set_are_named(folder: Path, name: str, value: object, message: str) -> None:
    dump(folder / name, value)
    with pytest.raises(InputError, match=f"{name} {message}"):
        CIFAR10(folder).contents()


def test_the_tests_write_pickles_of_protocol_2(written: dict[str, bytes]) -> None:
    opcodes = {opcode.name: argument for opcode, argument, _ in pickletools.genops(written["test_batch"])}
    assert opcodes["PROTO"] == 2
