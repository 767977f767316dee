import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from search_spaces.space.errors import InputError
from trainables.data.decode import decode
from trainables.data.image_folder import ImageFolder, _File
from trainables.data.store import Store, ensure_store

from .pictures import fill, noise, save

# Forking keeps these tests fast: a fresh process takes seconds to import torch. The children use none of it.
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
fork = multiprocessing.get_context("fork")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fill(tmp_path / "data", {"a": 60, "b": 60}, size=(6, 6))


class Watched(ImageFolder):
    """A folder that notes the paths that are decoded."""

    def __init__(self, root: Path, decoded: list[str]) -> None:
        super().__init__(root)
        self.decoded = decoded

    def _image(self, file: _File) -> Image.Image:
        self.decoded.append(file.path)
        return super()._image(file)


@pytest.fixture
def decoded() -> list[str]:
    """The paths that are decoded, as they are."""
    return []


def store_of(root: Path, cache: Path, decoded: list[str] | None = None, **options: object) -> tuple[Store, bool]:
    source = ImageFolder(root) if decoded is None else Watched(root, decoded)
    return ensure_store(source, **{"image_size": None, "cache": cache, **options})


def test_a_store_holds_what_decode_gives_for_each_file(root: Path, tmp_path: Path) -> None:
    store, decoded_now = store_of(root, tmp_path / "cache", image_size=4)
    assert decoded_now
    assert store.images.shape == (120, 3, 4, 4)
    assert isinstance(store.images, np.memmap)
    for row, name in enumerate(store.names()):
        np.testing.assert_array_equal(store.images[row], decode(root / name, 4, 3))
    assert store.labels.tolist() == [0] * 60 + [1] * 60
    assert len(np.unique(store.digests, axis=0)) == 120


def test_a_second_run_decodes_nothing(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    first, _ = store_of(root, tmp_path / "cache", decoded)
    assert len(decoded) == 120
    second, decoded_now = store_of(root, tmp_path / "cache", decoded)
    assert len(decoded) == 120
    assert not decoded_now
    np.testing.assert_array_equal(first.images, second.images)


def test_another_size_variant_and_changed_files_are_other_stores(
    root: Path, tmp_path: Path, decoded: list[str]
) -> None:
    keys = {store_of(root, tmp_path / "cache", decoded, image_size=size)[0].key for size in (None, 4, 5)}
    save(root / "a" / "000.png", noise(500, (6, 6)))
    keys.add(store_of(root, tmp_path / "cache", decoded)[0].key)
    keys.add(store_of(root, tmp_path / "cache", decoded, variant="box")[0].key)
    assert len(keys) == 5
    assert len(decoded) == 600


def test_digests_are_of_the_pixels_at_full_size(root: Path, tmp_path: Path) -> None:
    native, small = (store_of(root, tmp_path / "cache", image_size=size)[0] for size in (None, 1))
    np.testing.assert_array_equal(small.digests, native.digests)


def test_progress_is_told_up_to_the_last_image(root: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    store_of(root, tmp_path / "cache", progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 120) for done in (*range(16, 120, 16), 120)]


def test_any_number_of_threads_gives_the_same_store(root: Path, tmp_path: Path) -> None:
    one, _ = store_of(root, tmp_path / "one", threads=1)
    many, _ = store_of(root, tmp_path / "many", threads=8)
    assert (one.path / "images.npy").read_bytes() == (many.path / "images.npy").read_bytes()
    assert one.names() == many.names()


@pytest.mark.parametrize(
    ("sizes", "image_size", "expected"),
    [
        ([(20, 20)], None, 20),
        ([(64, 64)], None, 64),
        ([(65, 65)], None, 64),
        ([(20, 10)], None, 64),
        ([(20, 20), (21, 21)], None, 64),
        ([(20, 20), (21, 21)], 10, 10),
        ([(20, 20)], 30, 30),
    ],
)
def test_the_native_side_is_kept_if_it_is_one_small_square(
    tmp_path: Path, sizes: list[tuple[int, int]], image_size: int | None, expected: int
) -> None:
    for i in range(4):
        save(tmp_path / "data" / "ab"[i % 2] / f"{i}.png", noise(i, sizes[i % len(sizes)]))
    store, _ = store_of(tmp_path / "data", tmp_path / "cache", image_size=image_size)
    assert store.images.shape == (4, 3, expected, expected)


def test_one_channel_is_stored_only_if_all_images_are_grey(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {"a": 2, "b": 2}, mode="L")
    assert store_of(root, tmp_path / "cache")[0].images.shape[1] == 1
    save(root / "b" / "colour.png", noise(50))
    assert store_of(root, tmp_path / "cache")[0].images.shape[1] == 3


def test_broken_images_are_left_out_and_listed(root: Path, tmp_path: Path) -> None:
    (root / "a" / "003.png").write_bytes(b"no image")
    (root / "b" / "059.png").unlink()
    (root / "b" / "059.png").symlink_to("nowhere.png")
    store, _ = store_of(root, tmp_path / "cache")
    assert store.bad == (
        {"path": "a/003.png", "reason": "not an image of a known format"},
        {"path": "b/059.png", "reason": "a symbolic link to a file that is not there"},
    )
    assert store.images.shape == (118, 3, 6, 6)
    assert len(store.names()) == len(store.labels) == len(store.digests) == 118
    for row in (2, 3, 117):
        np.testing.assert_array_equal(store.images[row], decode(root / store.names()[row], 6, 3))


def test_nothing_stays_of_a_source_without_a_whole_image(tmp_path: Path) -> None:
    for name in ("a/x.png", "b/y.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"none of the 2 images can be decoded; a/x.png: not an image"):
        store_of(tmp_path / "data", tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_nothing_stays_when_a_build_fails(root: Path, tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_of(root, tmp_path / "cache", progress=fail)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def truncate(store: Path) -> None:
    with (store / "images.npy").open("r+b") as file:
        file.truncate(1000)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lambda store: (store / "labels.npy").unlink(),
        lambda store: (store / "names.json").unlink(),
        lambda store: (store / "names.json").write_text("[]"),
        lambda store: (store / "manifest.json").unlink(),
        lambda store: (store / "manifest.json").write_text("{"),
        lambda store: (store / "manifest.json").write_text("{}"),
        lambda store: (store / "manifest.json").write_text("[]"),
        lambda store: (store / "digests.npy").write_bytes(b"\0" * (store / "digests.npy").stat().st_size),
    ],
)
def test_a_damaged_store_is_built_anew(
    root: Path, tmp_path: Path, decoded: list[str], damage: Callable[[Path], object]
) -> None:
    whole = store_of(root, tmp_path / "cache", decoded)[0]
    before = whole.images.copy()
    damage(whole.path)
    mended, decoded_now = store_of(root, tmp_path / "cache", decoded)
    assert decoded_now
    assert len(decoded) == 240
    assert mended.path == whole.path
    np.testing.assert_array_equal(mended.images, before)


def test_a_cache_that_cannot_be_written_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write the image store to .*/file/cache: Not a directory; give"):
        store_of(root, tmp_path / "file" / "cache")


def test_a_disk_without_room_is_refused_before_anything_is_decoded(
    root: Path, tmp_path: Path, decoded: list[str]
) -> None:
    with pytest.raises(
        InputError, match=r"image store to .*cache: its 120 images take 343,322,753\.9 MiB, and [0-9,.]+ MiB are free"
    ):
        store_of(root, tmp_path / "cache", decoded, image_size=10**6)
    assert decoded == []


def test_a_store_that_is_there_needs_no_cache_that_can_be_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_of(root, tmp_path / "cache")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert not store_of(root, tmp_path / "cache")[1]
    with pytest.raises(InputError, match=r"cannot write the image store to .*: Permission denied; give a cache"):
        store_of(root, tmp_path / "cache", image_size=5)


@forks
def test_two_processes_that_start_at_once_decode_once(root: Path, tmp_path: Path) -> None:
    barrier, results = fork.Barrier(2), fork.SimpleQueue()

    def run() -> None:
        barrier.wait()
        store, decoded_now = store_of(root, tmp_path / "cache")
        results.put((decoded_now, int(store.images.sum(dtype=np.int64)), len(store.labels)))

    children = [fork.Process(target=run) for _ in range(2)]
    for child in children:
        child.start()
    found = [results.get() for _ in children]
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0, 0]
    assert sorted(decoded_now for decoded_now, *_ in found) == [False, True]
    assert found[0][1:] == found[1][1:]
    stores = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(stores) == 1
    assert not store_of(root, tmp_path / "cache")[1]


@forks
def test_a_killed_build_is_not_taken_for_whole_and_is_swept_by_the_next(
    root: Path, tmp_path: Path, decoded: list[str]
) -> None:
    cache = tmp_path / "cache"

    def die(done: int, total: int) -> None:
        if done >= 64:
            os.kill(os.getpid(), signal.SIGKILL)

    for size in (None, 5):
        child = fork.Process(target=store_of, args=(root, cache), kwargs={"progress": die, "image_size": size})
        child.start()
        child.join(30)
        assert child.exitcode == -signal.SIGKILL
        assert [path.suffix for path in cache.iterdir() if path.is_dir()] == [".building"]

    store, decoded_now = store_of(root, cache, decoded)
    assert decoded_now
    assert len(decoded) == 120
    assert store.images.shape[0] == 120
    assert [path for path in cache.iterdir() if path.is_dir()] == [store.path]


def test_a_build_that_is_under_way_is_not_swept(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "0123.building").mkdir(parents=True)
    with FileLock(cache / "0123.lock"):
        store_of(root, cache)
    assert (cache / "0123.building").is_dir()
    store_of(root, cache, image_size=5)
    assert not (cache / "0123.building").exists()
