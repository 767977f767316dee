"""Each data set, small and from a server on this machine, up to what a search reads of it."""

import hashlib
import io
import json
import pickle
import tarfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from filelock import FileLock
from PIL import Image
from pyarrow import parquet
from rich.console import Console
from sklearn.datasets import load_digits

from fetching.web import Web
from search_spaces import InputError
from trainables.data import DataSpec, prepare
from tune.cli import main
from tune.fetching.download import download
from tune.fetching.fetch import fetch
from tune.fetching.published import BREEDS, CIFAR10_FILES, DATA_SETS, FLOWERS, Remote, shards_of, split

QUIET = Console(quiet=True)
DIGITS = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(DIGITS[number]).save(file, "JPEG")
    return file.getvalue()


def tar(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def dogs() -> bytes:
    """Twenty images of each of the five breeds and of another one."""
    folders = [*(f"{number}-{name.title()}" for number, name in BREEDS.items()), "n02085620-Chihuahua"]
    return tar({f"Images/{f}/{f[:9]}_{n}.jpg": jpeg(20 * i + n) for i, f in enumerate(folders) for n in range(20)})


def flowers(path: Path) -> Path:
    """Four images of each class, all of them once more in a folder below, and what a Mac adds."""
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(FLOWERS):
            for n in range(4):
                archive.writestr(f"flowers/{name}/{n}_a.jpg", jpeg(4 * i + n))
                archive.writestr(f"flowers/flowers/{name}/{n}_a.jpg", jpeg(4 * i + n))
        archive.writestr("flowers/rose/notes.py", "")
        archive.writestr("__MACOSX/flowers/rose/._0_a.jpg", "")
    return path


def cifar() -> bytes:
    files: dict[str, object] = {
        CIFAR10_FILES[-1]: {b"label_names": [str(n).encode() for n in range(10)], b"num_cases_per_batch": 10}
    }
    for number, name in enumerate(CIFAR10_FILES[:-1]):
        pixels = np.zeros((10, 3072), np.uint8)
        pixels[:, :64] = DIGITS[10 * number : 10 * number + 10].reshape(10, 64)
        files[name] = {b"data": pixels, b"labels": list(range(10))}
    packed = {name: pickle.dumps(content, protocol=2) for name, content in files.items()}
    return tar({**packed, "cifar-10-batches-py/readme.html": b"<html>"})


def publish(monkeypatch: pytest.MonkeyPatch, name: str, *remotes: Remote) -> None:
    published = replace(DATA_SETS[name], files=lambda: list(remotes), checksum=remotes[0].checksum)
    monkeypatch.setitem(DATA_SETS, name, published)


@pytest.fixture
def dogs_there(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/images.tar"] = dogs()
    publish(monkeypatch, "dog_breeds", Remote(url=f"{web.url}/images.tar"))


def images(data: str, tmp_path: Path) -> dict[str, int]:
    """The images of each split, as a search reads them."""
    prepared = prepare(DataSpec(source=data, image_size=8), cache=tmp_path / "cache")
    prepared.write(tmp_path / "read")
    counts: dict[str, int] = json.loads((tmp_path / "read" / "data.json").read_text())["images"]
    return counts


@pytest.mark.usefixtures("dogs_there")
def test_breeds_are_chosen_and_split_by_class(web: Web, tmp_path: Path) -> None:
    data = fetch("dog_breeds", tmp_path / "dogs", None, QUIET)
    assert data == str(tmp_path / "dogs")
    assert sorted(path.name for path in (tmp_path / "dogs/val").iterdir()) == sorted(BREEDS.values())
    assert images(data, tmp_path) == {"train": 70, "val": 15, "test": 15}
    assert not (tmp_path / "dogs.partial").exists()


def test_the_published_numbers_of_images_give_the_published_split() -> None:
    sizes = {"beagle": 195, "boxer": 151, "german_shepherd": 152, "golden_retriever": 150, "toy_poodle": 151}
    names = [f"{name}/{n}.jpg" for name, size in sizes.items() for n in range(size)]
    arranged = split(names)
    assert Counter(path.split("/")[0] for path in arranged.values()) == {"train": 557, "val": 117, "test": 125}
    assert arranged == split(names[::-1]), "the order of the archive does not matter"
    assert arranged != split(names, seed=1)
    first = [split([f"a/{n}" for n in range(8)])[f"a/{n}"].partition("/")[0] for n in range(8)]
    assert first == ["test", "val", "train", "train", "train", "train", "test", "train"], (
        "what was fetched before must be what is fetched now"
    )


def test_cifar_is_what_the_source_of_that_name_reads(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/c.tar"] = cifar()
    md5 = hashlib.md5(web.files["/c.tar"], usedforsecurity=False).hexdigest()
    publish(monkeypatch, "cifar10", Remote(url=f"{web.url}/c.tar", checksum=f"md5:{md5}"))
    data = fetch("cifar10", tmp_path / "c", None, QUIET)
    assert data == f"cifar10:{tmp_path / 'c'}"
    assert sum(images(data, tmp_path).values()) == 60
    assert not (tmp_path / "c/cifar-10-batches-py/readme.html").exists()


def test_shards_are_found_checked_and_taken_as_they_are(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = []
    for number in range(2):
        rows = [{"image": {"bytes": jpeg(n)}, "label": str(n % 2)} for n in range(10 * number, 10 * number + 10)]
        file = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(rows), file)
        path = f"data/train-0000{number}-of-00002.parquet"
        web.files[f"/datasets/a/b/resolve/main/{path}"] = file.getvalue()
        digest = hashlib.sha256(file.getvalue()).hexdigest()
        entries.append({"path": path, "size": len(file.getvalue()), "lfs": {"oid": digest}})
    listing = "/api/datasets/a/b/tree/main/data"
    web.files[listing] = json.dumps([*entries, {"path": "data/README.md", "size": 1}]).encode()
    published = replace(DATA_SETS["product_masks"], files=lambda: shards_of("a/b", web.url))
    monkeypatch.setitem(DATA_SETS, "product_masks", published)
    data = fetch("product_masks", tmp_path / "p", None, QUIET)
    assert data == f"parquet:{tmp_path / 'p'}"
    assert sum(images(data, tmp_path).values()) == 20

    entries[1]["lfs"] = {"oid": "00ff"}
    web.files[listing] = json.dumps(entries).encode()
    with pytest.raises(InputError, match=r"train-00001-of-00002.parquet has sha256 .* but 00ff is published"):
        fetch("product_masks", tmp_path / "q", None, QUIET)
    assert not (tmp_path / "q").exists()
    entries[1]["lfs"] = {"oid": digest}
    web.files[listing], before = json.dumps(entries).encode(), len(web.requests)
    fetch("product_masks", tmp_path / "q", None, QUIET)
    assert len(web.requests) == before + 2, "the shard that was whole is not downloaded again"

    web.files[listing] = b'[{"name": "?"}]'
    with pytest.raises(InputError, match=r"lists no .parquet files; get the .parquet files of data/ from https://hugg"):
        fetch("product_masks", tmp_path / "r", None, QUIET)


def test_flowers_come_from_an_archive_without_their_copies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fetch", "flowers"]) == 2
    assert (
        "download the zip from https://www.kaggle.com/datasets/alxmamaev/flowers-recognition, then: toprung fetch "
        in (capsys.readouterr().err)
    )
    flowers(tmp_path / "archive.zip")
    assert main(["fetch", "flowers", "--from", "archive.zip"]) == 0
    out = capsys.readouterr().out
    assert (
        f"flowers: 20 files in {tmp_path}/data/flowers\nsearch it: toprung search --data {tmp_path}/data/flowers\n"
        in out
    )
    assert sum(images(str(tmp_path / "data/flowers"), tmp_path).values()) == 20
    assert main(["fetch", "flowers"]) == 0
    assert f"flowers is there already: {tmp_path}/data/flowers" in capsys.readouterr().out


def test_an_archive_that_one_has_is_checked_as_a_download_is(tmp_path: Path, web: Web) -> None:
    (tmp_path / "c.tar").write_bytes(cifar())
    with pytest.raises(InputError, match=r"c.tar has md5 .* but c58f30108f718f92721af3b95e74349a is published"):
        fetch("cifar10", tmp_path / "c", tmp_path / "c.tar", QUIET)
    (tmp_path / "dogs.tar").write_bytes(dogs())
    fetch("dog_breeds", tmp_path / "dogs", tmp_path / "dogs.tar", QUIET)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.tar", "dogs", "dogs.tar"]


@pytest.mark.usefixtures("dogs_there")
def test_a_second_call_does_nothing_and_a_folder_that_lost_files_is_noticed(web: Web, tmp_path: Path) -> None:
    fetch("dog_breeds", tmp_path / "dogs", None, QUIET)
    before = len(web.requests)
    assert fetch("dog_breeds", tmp_path / "dogs", None, QUIET) == str(tmp_path / "dogs")
    assert len(web.requests) == before
    next((tmp_path / "dogs").rglob("*.jpg")).unlink()
    with pytest.raises(InputError, match="was fetched with 100 files and has 99; delete it and fetch it again"):
        fetch("dog_breeds", tmp_path / "dogs", None, QUIET)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="is there, but not from fetch dog_breeds; give a folder that is not there"):
        fetch("dog_breeds", tmp_path, None, QUIET)


@pytest.mark.usefixtures("dogs_there")
def test_what_broke_off_leaves_no_folder_and_goes_on(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.cut, web.answer = {0: 1000}, lambda number, path: (404, {}) if number == 1 else None
    monkeypatch.setitem(download.__kwdefaults__, "pause", lambda seconds: None)
    with pytest.raises(
        InputError, match=r"answers 404 .*; get images.tar from http.* then: toprung fetch dog_breeds --from ARCHIVE"
    ):
        fetch("dog_breeds", tmp_path / "dogs", None, QUIET)
    assert not (tmp_path / "dogs").exists()
    fetch("dog_breeds", tmp_path / "dogs", None, QUIET)
    assert web.requests[-1] == ("/images.tar", "bytes=1000-")


@pytest.mark.usefixtures("dogs_there")
def test_what_breaks_while_it_is_unpacked_leaves_no_folder_and_is_downloaded_again(web: Web, tmp_path: Path) -> None:
    whole, web.files["/images.tar"] = web.files["/images.tar"], tar({"Images/n02088364-Beagle/a.jpg": jpeg(0)})
    with pytest.raises(InputError, match=r"lacks images of boxer, images of german_shepherd, .*; see http"):
        fetch("dog_breeds", tmp_path / "dogs", None, QUIET)
    assert not any(tmp_path.iterdir())
    web.files["/images.tar"] = whole
    fetch("dog_breeds", tmp_path / "dogs", None, QUIET)


@pytest.mark.usefixtures("dogs_there")
def test_a_hostile_archive_leaves_nothing(web: Web, tmp_path: Path) -> None:
    web.files["/images.tar"] = tar({"Images/n02088364-Beagle/a.jpg": jpeg(0), "../../escaped.jpg": jpeg(1)})
    with pytest.raises(InputError, match=r"has '../../escaped.jpg', which is not a path inside a folder"):
        fetch("dog_breeds", tmp_path / "dogs", None, QUIET)
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures("no_network")
def test_without_a_network_it_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)
    archive = "in a browser or on another machine, then: toprung fetch {} --from ARCHIVE"
    shards = "put them into data/{0}/, and search it: toprung search --data parquet:data/{0}"
    for name, what, then in (
        ("cifar10", "cifar-10-python.tar.gz", archive),
        ("dog_breeds", "images.tar", archive),
        ("product_masks", "the .parquet files of data/", shards),
    ):
        assert main(["fetch", name]) == 2
        error = capsys.readouterr().err
        assert f" cannot be found from here; get {what} from {DATA_SETS[name].page} in a browser" in error
        assert error.endswith(f"{then.format(name)}\n")
        assert error.count("\n") == 1
        assert not any(tmp_path.iterdir()), "an empty data/ is left"


def shard(file: Path, numbers: range) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"image": {"bytes": jpeg(n)}, "label": str(n % 2)} for n in numbers]
    parquet.write_table(pa.Table.from_pylist(rows), file)
    return file


def test_shards_that_one_has_are_taken_from_a_file_a_folder_or_a_tar(tmp_path: Path) -> None:
    first = shard(tmp_path / "clone/data/train-00000-of-00002.parquet", range(20))
    second = shard(tmp_path / "clone/data/train-00001-of-00002.parquet", range(20, 40))
    (tmp_path / "clone/README.md").touch()
    packed = {f"data/{file.name}": file.read_bytes() for file in (first, second)}
    (tmp_path / "p.tar").write_bytes(tar(packed))
    for n, (copy, count) in enumerate([(tmp_path / "clone", 40), (first, 20), (tmp_path / "p.tar", 40)]):
        data = fetch("product_masks", tmp_path / str(n), copy, QUIET)
        assert data == f"parquet:{tmp_path / str(n)}"
        assert sum(images(data, tmp_path / "of" / str(n)).values()) == count
    assert first.exists()
    assert fetch("product_masks", tmp_path / "0", None, QUIET) == f"parquet:{tmp_path / '0'}"


def test_shards_that_cannot_be_taken_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pointer = tmp_path / "clone" / "train-0.parquet"
    pointer.parent.mkdir()
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    shard(tmp_path / "twice/a/train-0.parquet", range(3))
    shard(tmp_path / "twice/b/train-0.parquet", range(3))
    for copy, message in (
        (tmp_path / "empty", r"--from .*empty: has no .parquet file"),
        (tmp_path / "clone", r"--from .*clone/train-0.parquet: is no whole Parquet file"),
        (tmp_path / "twice", r"--from .*twice: has train-0.parquet twice"),
        (tmp_path / "nowhere.parquet", r"--from .*nowhere.parquet: No such file or directory; give a file"),
        (tmp_path / "nowhere", r"--from .*nowhere: there is no such file"),
    ):
        with pytest.raises(InputError, match=message):
            fetch("product_masks", tmp_path / "new" / "p", copy, QUIET)
        assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match=r"--from .*clone: is a folder; give the tar or zip as it was published"):
        fetch("cifar10", tmp_path / "new" / "c", tmp_path / "clone", QUIET)


def test_a_copy_is_not_ignored_where_the_folder_is_there(tmp_path: Path) -> None:
    archive = flowers(tmp_path / "archive.zip")
    fetch("flowers", tmp_path / "flowers", archive, QUIET)
    with pytest.raises(
        InputError, match=r"--from .*: flowers is there already, in .*; delete it, or give another --to"
    ):
        fetch("flowers", tmp_path / "flowers", archive, QUIET)


@pytest.mark.usefixtures("dogs_there")
def test_two_at_a_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    (tmp_path / "dogs.partial").mkdir()
    with (
        FileLock(tmp_path / "dogs.partial" / ".lock"),
        pytest.raises(InputError, match="is being fetched by another process"),
    ):
        fetch("dog_breeds", tmp_path / "dogs", None, QUIET)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Not a directory; choose a folder that can be written"):
        fetch("dog_breeds", tmp_path / "file" / "dogs", None, QUIET)


def test_the_help_names_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fetch", "--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in DATA_SETS)
    assert main(["fetch", "imagenet"]) == 2
    assert "no data set 'imagenet' to fetch; there are: cifar10, product_masks, dog_breeds" in capsys.readouterr().err
