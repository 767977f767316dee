import os
from pathlib import Path

import pytest
from PIL import Image

from search_spaces.space.errors import InputError
from trainables.data import DataSpec, prepare
from trainables.data.image_folder import ImageFolder
from trainables.data.sources import open_source

from .pictures import fill, noise, save


def test_class_folders_alone_are_a_data_set_without_splits(tmp_path: Path) -> None:
    contents = ImageFolder(fill(tmp_path, {"dog": 2, "cat": 3, "10 €/$": 1})).contents()
    assert contents.classes == ("10 €", "cat", "dog")
    assert contents.names == [
        "10 €/$/000.png",
        *(f"cat/{i:03d}.png" for i in range(3)),
        *(f"dog/{i:03d}.png" for i in range(2)),
    ]
    assert contents.labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert contents.official.tolist() == [-1] * 6


def test_an_image_that_was_overwritten_is_seen_though_size_and_time_are_the_old_ones(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        for number in range(3):
            (tmp_path / "d" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), number).save(tmp_path / "d" / name / f"{number}.bmp")
    file = tmp_path / "d" / "a" / "0.bmp"
    before, status = ImageFolder(tmp_path / "d").identity, file.stat()
    Image.new("L", (4, 4), 200).save(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_size == status.st_size
    assert ImageFolder(tmp_path / "d").identity != before


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_folders_of_splits_are_kept_apart(tmp_path: Path, val: str) -> None:
    layout = {"train/a": 2, "train/b": 2, f"{val}/a": 1, f"{val}/b": 1, "test/a": 1, "test/b": 1}
    contents = ImageFolder(fill(tmp_path, layout)).contents()
    assert contents.classes == ("a", "b")
    by_name = dict(zip(contents.names, contents.official.tolist(), strict=True))
    expected = {"train": 0, val: 1, "test": 2}
    assert by_name == {name: expected[name.split("/")[0]] for name in contents.names}


def test_folders_below_a_class_belong_to_it(tmp_path: Path) -> None:
    contents = ImageFolder(fill(tmp_path, {"a/2024/may": 1, "a": 1, "b/x/y/z": 1})).contents()
    assert contents.classes == ("a", "b")
    assert contents.labels.tolist() == [0, 0, 1]


def test_pictures_of_other_formats_are_told(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 2, "b": 2})
    for name in ("a/x.HEIC", "b/y.heic", "b/z.svg", "b/notes.txt"):
        (tmp_path / name).touch()
    folder = ImageFolder(tmp_path)
    assert folder.ignored == 4
    assert folder.notes == ("pictures of some formats are not read: 2 .heic, 1 .svg; convert them to JPEG or PNG",)


def test_hidden_and_other_files_are_ignored_and_counted(tmp_path: Path) -> None:
    root = fill(tmp_path, {"a": 1, "b": 1, ".hidden": 1, "a/.git": 1})
    for name in ("README.md", "a/.DS_Store", "a/notes.txt", "b/._000.png", "b/x.png.part"):
        (root / name).write_text("")
    os.mkfifo(root / "a" / "pipe.png")
    folder = ImageFolder(root)
    assert len(folder.contents().names) == 2
    assert folder.ignored == 6


def test_links_to_files_are_followed_and_links_to_folders_are_noted(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {"a": 1, "b": 1})
    save(tmp_path / "elsewhere" / "x.png", noise(77))
    (root / "a" / "linked.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    (root / "a" / "loop").symlink_to(root)
    (root / "c").symlink_to(tmp_path / "elsewhere")
    folder = ImageFolder(root)
    assert folder.contents().names == ["a/000.png", "a/linked.png", "b/000.png"]
    assert folder.contents().image(1).tobytes() == noise(77).tobytes()
    assert folder.notes == ("symbolic links to folders are not followed: a/loop, c",)


def test_the_folder_itself_may_be_a_link_or_start_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "real", {"a": 1, "b": 1})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_source(DataSpec(source="~/link")).name == str(tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    assert open_source(DataSpec(source="real")).name == str(tmp_path / "real")


def test_folders_beside_train_are_noted(tmp_path: Path) -> None:
    folder = ImageFolder(fill(tmp_path, {"train/a": 1, "train/b": 1, "unlabelled/x": 1}))
    assert folder.contents().names == ["train/a/000.png", "train/b/000.png"]
    assert folder.notes == ("folders beside train/ are not read: unlabelled",)


def test_a_folder_is_another_source_when_a_file_in_it_changes(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {"a": 2, "b": 2})
    seen = [ImageFolder(root).identity]
    save(root / "a" / "000.png", noise(99))
    seen.append(ImageFolder(root).identity)
    os.utime(root / "a" / "000.png", ns=(1, 1))
    seen.append(ImageFolder(root).identity)
    (root / "a" / "000.png").rename(root / "a" / "100.png")
    seen.append(ImageFolder(root).identity)
    (root / "README").write_text("no image")
    assert ImageFolder(root).identity == seen[-1]
    assert len({str(identity) for identity in seen}) == 4


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({}, r"no images in .*: it must hold train/ \(and val/, test/\) .*; images end in \.bmp, "),
        ({"a": 0, "b": 0}, "no images in"),
        ({".": 3}, "no class folders in .*, but images: it must hold train/"),
        ({"a": 5}, "has one class only, 'a', and telling classes apart takes two"),
        ({"train/a": 5, "test/a": 1}, "has one class only, 'a'"),
        ({"test/a": 2, "test/b": 2}, "has test/ but no train/: it must hold train/"),
        ({"valid/a": 2, "test/a": 2}, "has test/, valid/ but no train/"),
        ({"train": 3, "bus": 3}, "/train is taken for the train split but has no class folders"),
        ({"train/a": 1, "val": 1}, "/val is taken for the val split but has no class folders"),
        ({"train/a": 1, "val/a": 1, "valid/a": 1}, "has both val/ and valid/ for val: keep one"),
        (
            {"train/a": 2, "train/b": 2, "test/a": 1, "test/bird": 1},
            r"class 'bird' has images outside train/ \(test/bird/000.png\) but none in it; .* are: a, b$",
        ),
    ],
)
def test_a_folder_of_another_layout_is_refused(tmp_path: Path, layout: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageFolder(fill(tmp_path, layout))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", r"--data digit: there is no .*/digit; there are: digits, .*\. Did you mean 'digits'\?"),
        ("Fashion-MNIST:/x", r"Did you mean 'fashion_mnist'\?"),
        ("fashion_mnist", r"--data fashion_mnist: names no folder; give fashion_mnist:DIR"),
        ("cifar10:", r"--data cifar10:: names no folder; give cifar10:DIR, where DIR has data_batch_1"),
        ("parquet", r"--data parquet: names no folder; give parquet:GLOB, where GLOB is"),
        (
            "/no/such/folder",
            r"--data /no/such/folder: there is no /no/such/folder; there are: digits, fashion_mnist:DIR, "
            "cifar10:DIR, parquet:GLOB, or the folder",
        ),
        (
            __file__,
            r"test_image_folder.py: is a file; there are: digits, fashion_mnist:DIR, .*parquet:GLOB, or the folder of",
        ),
    ],
)
def test_an_unknown_source_is_refused_with_what_there_is(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(DataSpec(source=source))


def test_a_class_that_a_folder_has_no_images_of_is_named(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {"a": 3, "b": 3, "empty": 0})
    spec = DataSpec(source=str(root))
    with pytest.raises(InputError, match="class 'empty' has 0 images, but needs at least 3"):
        prepare(spec, cache=tmp_path / "cache")
    (root / "empty").rmdir()
    assert prepare(spec, cache=tmp_path / "cache").card["classes"] == ["a", "b"]
