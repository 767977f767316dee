import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search_spaces.space.errors import InputError
from trainables.data import DataSpec, Prepared, parquet_files, prepare, prepare_input_variants
from trainables.data.decode import read_image
from trainables.data.parquet import ParquetShards

from .pictures import garment, placed, png
from .shards import NAMES, write_hub


def write(path: Path, images: Sequence[Any], **columns: Any) -> Path:
    """A shard of binary images, with any columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pa.array(images, pa.binary()), **columns}), path, row_group_size=7)
    return path


def small(count: int, start: int = 0) -> list[bytes]:
    return [png(garment(start + i)) for i in range(count)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of train, one of val. Only to be read."""
    root = tmp_path_factory.mktemp("hub") / "data"
    write_hub(root / "train-00000-of-00002.parquet", range(30))
    write_hub(root / "train-00001-of-00002.parquet", range(30, 48))
    write_hub(root / "validation-00000-of-00001.parquet", range(48, 60))
    return root


def prepared(source: Path | str, cache: Path, **options: object) -> Prepared:
    return prepare(DataSpec(source=f"parquet:{source}", **options), cache=cache)


def shards(source: Path | str, **options: object) -> ParquetShards:
    return ParquetShards(str(source), DataSpec(source="parquet:x", **options))


def test_shards_of_the_hub_keep_their_split_their_classes_and_their_pixels(hub: Path, tmp_path: Path) -> None:
    data = prepared(hub, tmp_path, split=(0.8, 0.2, 0), image_size=50)
    assert data.card["images"] == {"train": 48, "val": 12, "test": 0}
    assert data.card["source"] == f"parquet:{hub}"
    assert data.store.classes == tuple(NAMES)
    assert data.store.labels.tolist() == [i % 3 for i in range(60)]
    assert data.store.names()[29:31] == ["train-00000-of-00002.parquet/29", "train-00001-of-00002.parquet/0"]
    assert data.card["variant"] == "whole"
    for i in range(60):
        np.testing.assert_array_equal(data.store.images[i, 0], placed(i)[0][:, 5:55])


def test_a_box_gives_back_the_original_pixels(hub: Path, tmp_path: Path) -> None:
    data = prepared(hub, tmp_path, variant="box")
    assert data.card["variant"] == "box"
    assert data.store.images.shape == (60, 1, len(garment(0)), len(garment(0)))
    for i in range(60):
        np.testing.assert_array_equal(data.store.images[i, 0], garment(i))


def test_whole_images_and_boxes_are_two_stores(hub: Path, tmp_path: Path) -> None:
    whole, box = (prepared(hub, tmp_path, variant=variant) for variant in ("whole", "box"))
    assert whole.store.key != box.store.key
    assert whole.digest != box.digest
    assert not prepared(hub, tmp_path, variant="box").card["decoded_now"]


def test_images_that_are_seen_in_two_ways_are_split_once(tmp_path: Path) -> None:
    """Whole images and their boxes have different pixels, which alone would give different splits."""
    write_hub(tmp_path / "d" / "x.parquet", range(60))
    specs = [DataSpec(source=f"parquet:{tmp_path}/d", variant=variant) for variant in ("whole", "box")]
    whole, box = prepare_input_variants(specs, cache=tmp_path / "cache")
    alone = prepare(specs[1], cache=tmp_path / "cache")
    for split in ("train", "val", "test"):
        assert whole.splits[split].tolist() == box.splits[split].tolist()
    assert alone.splits["test"].tolist() != box.splits["test"].tolist()
    assert box.store.images.shape[-1] == whole.store.images.shape[-1] != alone.store.images.shape[-1]
    assert whole.digest != box.digest
    for split in ("val", "test"):
        ours, theirs = whole.card["evaluated"][split], box.card["evaluated"][split]
        assert ours["pixels"] != theirs["pixels"]
        assert ours["names"] == theirs["names"] != alone.card["evaluated"][split]["names"]


def test_an_image_that_cannot_be_seen_in_one_way_is_seen_in_none(tmp_path: Path) -> None:
    boxes = [placed(i)[1] for i in range(60)]
    write_hub(tmp_path / "d" / "x.parquet", range(60), bbox=[[-1.0, 0.0, 5.0, 5.0], *boxes[1:]])
    specs = [
        DataSpec(source=f"parquet:{tmp_path}/d", variant=variant, on_bad_image="skip", image_size=20)
        for variant in ("whole", "box")
    ]
    for asked in (specs, specs[::-1]):
        input_variants = prepare_input_variants(asked, cache=tmp_path / "cache")
        seen = [
            [np.array(input_variant.store.names())[input_variant.splits[s]].tolist() for s in input_variant.splits]
            for input_variant in input_variants
        ]
        assert seen[0] == seen[1]
        assert sum(map(len, seen[0])) == 59
        for input_variant in input_variants:
            assert [image["path"] for image in input_variant.card["bad_images"]] == ["x.parquet/0"]


@pytest.mark.parametrize("threads_keep", [0, 2**30])
def test_row_groups_are_read_one_by_one_and_once_in_order(
    hub: Path, monkeypatch: pytest.MonkeyPatch, threads_keep: int
) -> None:
    read: list[tuple[str, int]] = []
    original = parquet_files.read_row_group

    def count(path: Path, group: int, column: str) -> pa.Table:
        if column == "image":
            read.append((path.name[:11], group))
        return original(path, group, column)

    monkeypatch.setattr(parquet_files, "read_row_group", count)
    shards(hub).contents()
    _, files = parquet_files.find_files(hub)
    images = parquet_files.RowGroups(list(map(parquet_files.read_footer, files)), "image", kept_bytes=threads_keep)
    assert read == []
    for i in range(60):
        images.image(i)
    groups = {"train-00000": 3, "train-00001": 2, "validation-": 2}
    assert read == [(name, group) for name, count in groups.items() for group in range(count)]
    np.testing.assert_array_equal(
        np.asarray(read_image(images.image(3) or b"")), placed(3)[0]
    )  # and again from the beginning
    assert len(read) == (8 if threads_keep == 0 else 7)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002", 0), ("training", 0), ("validation-00000-of-00001", 1), ("val", 1), ("my_dev_set", 1),
        ("Valid.0", 1), ("test-0001", 2), ("eval", 2), ("train/0000", 0), ("plain_text/test/0000", 2),
        ("train/val/0000", 1), ("test/train-0", 0), ("retrain", -1), ("tests", -1), ("contest/0000", -1),
    ],
)  # fmt: skip
def test_the_split_is_that_of_the_name_or_the_nearest_folder(tmp_path: Path, name: str, split: int) -> None:
    root = tmp_path / "train"  # the folder that was named itself says nothing
    labels = ["a", "b"] * 5
    write(root / f"{name}.parquet", small(10), label=labels)
    if split > 0:
        write(root / "train-x.parquet", small(10), label=labels)
    official = shards(root).contents().official.tolist()
    assert set(official) - {0 if split > 0 else split} == ({split} if split > 0 else set())


def test_files_without_a_split_are_dealt(tmp_path: Path) -> None:
    write(tmp_path / "d" / "part-0.parquet", small(30), label=["a", "b"] * 15)
    write(tmp_path / "d" / "part-1.parquet", small(30, 30), label=["a", "b"] * 15)
    data = prepared(tmp_path / "d", tmp_path / "cache", split=("rest", 12, 8))
    assert data.card["images"] == {"train": 40, "val": 12, "test": 8}


def test_a_glob_takes_some_files_and_hidden_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("a-0", "a-1", "b-0", "deep/a-2", ".cache/a-3"):
        write(tmp_path / f"{name}.parquet", small(4), label=["x", "y"] * 2)
    assert {name.rpartition("/")[0] for name in shards(tmp_path / "a-*.parquet").contents().names} == {
        "a-0.parquet",
        "a-1.parquet",
    }
    assert len(shards(tmp_path / "a-0.parquet").contents().names) == 4
    assert len(shards(tmp_path / "**" / "a-*.parquet").contents().names) == 12
    assert len(shards(tmp_path).contents().names) == 16


def test_text_and_numbers_are_labels(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "text": pa.array(["b", "a"] * 3),
        "coded": pa.array(["b", "a"] * 3).dictionary_encode(),
        "number": pa.array([10, 9] * 3, pa.uint8()),
    }
    for name, column in columns.items():
        write(tmp_path / f"{name}.parquet", small(6), category=column)
        contents = shards(tmp_path / f"{name}.parquet").contents()
        assert contents.classes == (("9", "10") if name == "number" else ("a", "b"))
        assert contents.labels.tolist() == [1, 0] * 3


def test_the_names_of_a_class_label_that_do_not_occur_are_no_classes(tmp_path: Path) -> None:
    write_hub(tmp_path / "x.parquet", range(9), names=["Z", "A", "M", "never"])
    contents = shards(tmp_path).contents()
    assert contents.classes == ("Z", "A", "M")
    assert contents.labels.tolist() == [0, 1, 2] * 3


def test_columns_can_be_named(tmp_path: Path) -> None:
    other = pa.array(small(6, 10), pa.binary())
    write(tmp_path / "x.parquet", small(6), label=["a", "b"] * 3, kind=["k", "l", "m"] * 2, thumb=other)
    contents = shards(tmp_path, image_column="thumb", label_column="kind").contents()
    assert contents.classes == ("k", "l", "m")
    np.testing.assert_array_equal(np.asarray(contents.image(2)), garment(12))


def test_of_several_columns_of_images_the_one_called_image_is_meant(tmp_path: Path) -> None:
    mask = pa.array(small(6, 10), pa.binary())
    write(tmp_path / "x.parquet", small(6), label=["a", "b"] * 3, mask=mask)
    np.testing.assert_array_equal(np.asarray(shards(tmp_path).contents().image(2)), garment(2))
    table = pq.read_table(tmp_path / "x.parquet").rename_columns({"image": "a_photo"})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"has several columns \(a_photo, mask\) of image files: .*--image-column"):
        shards(tmp_path)


def test_another_column_is_another_store(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", small(6), label=["a", "b"] * 3, kind=["k", "l"] * 3)
    assert shards(tmp_path).identity != shards(tmp_path, label_column="kind").identity
    before = shards(tmp_path).identity
    os.utime(tmp_path / "x.parquet", ns=(1, 1))
    assert shards(tmp_path).identity != before
    json.dumps(before)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"label": ["a", "b"]},
            {"label_column": "kind"},
            "--label-column kind: is no column of .*; there are: image, label$",
        ),
        (
            {"label": ["a", "b"]},
            {"image_column": "jpg"},
            "--image-column jpg: is no column of .*; there are: image, label",
        ),
        (
            {"label": ["a", "b"]},
            {"image_column": "label"},
            "--image-column label: is string in .*, but must hold image",
        ),
        (
            {"label": ["a", "b"]},
            {"variant": "box"},
            r"has no column of boxes: .*named bbox; say which with --box-column, of",
        ),
        ({"label": ["a", "b"], "bbox": ["1", "2"]}, {"variant": "box"}, "--box-column bbox: is string"),
        ({"label": [0.5, 1.5]}, {}, "--label-column label: is double in .* must hold labels: text or whole numbers"),
        ({"kind": ["a", "b"]}, {}, "has no column of labels: .*; say which with --label-column, of: image, kind"),
        ({"label": ["a", "b"], "class": ["a", "b"]}, {}, r"several columns \(label, class\) of labels"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, str], message: str
) -> None:
    write(tmp_path / "x.parquet", small(2), **columns)
    with pytest.raises(InputError, match=message) as caught:
        shards(tmp_path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "there is no .parquet file; give a glob or a folder"),
        (["train", "x"], r"x\.parquet names no split, but other files do \(train\): rename it"),
        (["test", "val"], "has files of test, val but none of train: name one such as train-00000-of-00001.parquet"),
        (["train-test"], r"train-test\.parquet names several splits, test and train"),
    ],
)
def test_files_of_unclear_splits_are_refused(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        write(tmp_path / f"{name}.parquet", small(2), label=["a", "b"])
    with pytest.raises(InputError, match=message):
        shards(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: b"", lambda data: b"<html>" * 20])
def test_a_truncated_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / "x.parquet", small(9), label=["a", "b", "c"] * 3)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"x\.parquet is not a whole Parquet file \(.*\): download it again") as caught:
        shards(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_damaged_inside_is_named_and_not_taken_for_the_cache(tmp_path: Path) -> None:
    path = write(tmp_path / "d" / "x.parquet", small(30), label=["a", "b", "c"] * 10)
    data = bytearray(path.read_bytes())
    data[4:30] = b"\xff" * 26  # the header of the first page
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"x\.parquet is damaged in row group 0 \(.*\): download it again"):
        prepared(tmp_path / "d", tmp_path / "cache")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"kind": ["a", "b"]}, r"y\.parquet has no column label, but x\.parquet has: files of one data set must have"),
        ({"label": [0, 1]}, r"y\.parquet has int64 in label, but x\.parquet has string: files of one data set"),
    ],
)
def test_a_shard_of_another_schema_is_named(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    write(tmp_path / "x.parquet", small(2), label=["a", "b"])
    write(tmp_path / "y.parquet", small(2), **columns)
    with pytest.raises(InputError, match=message):
        shards(tmp_path)


def test_a_shard_of_other_class_names_is_named(tmp_path: Path) -> None:
    write_hub(tmp_path / "x.parquet", range(6))
    write_hub(tmp_path / "y.parquet", range(6), names=["Dog", "cat", "Sea lion"])
    with pytest.raises(InputError, match=r"y\.parquet has other names of classes in label than x\.parquet"):
        shards(tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", small(4), label=["a"] * 4)
    with pytest.raises(InputError, match="has 1 classes in label, and telling classes apart takes two"):
        shards(tmp_path).contents()


BAD_ROWS = [
    ({"label": [None]}, "whole", "its label is null"),
    ({"label": [3]}, "whole", "its label 3 is none of the 3 classes"),
    ({"label": [-1]}, "whole", "its label -1 is none of the 3 classes"),
    ({"image": [None]}, "whole", "its image has no bytes"),
    ({"image": [{"bytes": None, "path": "x.png"}]}, "whole", "its image has no bytes"),
    ({"image": [{"bytes": b"", "path": "x.png"}]}, "whole", "its image has no bytes"),
    ({"image": [{"bytes": b"GIF89a", "path": None}]}, "whole", "cannot identify|not an image|truncated"),
    ({"bbox": [None]}, "box", "its bbox is None, not x, y, width and height"),
    (
        {"bbox": [[0.0, 0.0, 0.0, 5.0]]},
        "box",
        r"its box \[0, 0, 0, 5\] is not x, y, width and height of at least a pixel",
    ),
    ({"bbox": [[0.0, 0.0, float("nan"), 5.0]]}, "box", "is not x, y, width and height of at least a pixel"),
    ({"bbox": [[-1.0, 0.0, 5.0, 5.0]]}, "box", r"its box \[-1, 0, 5, 5\] is not inside the image of 60 x 50 pixels"),
    ({"bbox": [[50.0, 0.0, 11.0, 5.0]]}, "box", "is not inside the image of 60 x 50 pixels"),
    ({"bbox": [[0.0, 46.0, 5.0, 5.0]]}, "box", "is not inside the image of 60 x 50 pixels"),
]


def write_bad_row(path: Path, bad: dict[str, list[Any]]) -> None:
    """Twelve rows, of which the last has a bad value in one column."""
    write_hub(path, range(12))
    table = pq.read_table(path)
    (name,) = bad
    kind = table.schema.field(name).type
    column = pa.chunked_array([table[name].slice(0, 11).combine_chunks(), pa.array(bad[name], kind)])
    pq.write_table(table.set_column(table.schema.get_field_index(name), table.schema.field(name), column), path)


@pytest.mark.parametrize(("bad", "variant", "reason"), BAD_ROWS)
def test_a_bad_row_is_refused_by_name_or_skipped_and_listed(
    tmp_path: Path, bad: dict[str, list[Any]], variant: str, reason: str
) -> None:
    write_bad_row(tmp_path / "d" / "x.parquet", bad)
    with pytest.raises(InputError, match=rf"cannot decode x\.parquet/11: .*({reason}).*--on-bad-image skip"):
        prepared(tmp_path / "d", tmp_path / "cache", variant=variant)
    card = prepared(tmp_path / "d", tmp_path / "cache", variant=variant, on_bad_image="skip").card
    assert [image["path"] for image in card["bad_images"]] == ["x.parquet/11"]
    assert sum(card["images"].values()) == 11


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_name_of_a_class_is_none(tmp_path: Path, blank: str) -> None:
    write(tmp_path / "d" / "x.parquet", small(13), category=[*["a", "b"] * 6, blank])
    with pytest.raises(InputError, match=r"cannot decode x\.parquet/12: its category is empty"):
        prepared(tmp_path / "d", tmp_path / "cache")


def test_boxes_are_not_looked_at_for_whole_images(tmp_path: Path) -> None:
    write_bad_row(tmp_path / "d" / "x.parquet", {"bbox": [None]})
    assert prepared(tmp_path / "d", tmp_path / "cache").card["bad_images"] == []


def test_the_edges_of_a_box_are_rounded_to_pixels(tmp_path: Path) -> None:
    write_hub(
        tmp_path / "x.parquet", range(3), bbox=[[0.4, 0.0, 59.7, 50.3], [1.6, 2.4, 4.6, 3.3], [5.0, 5.0, 1.0, 1.0]]
    )
    contents = shards(tmp_path, variant="box").contents()
    assert [contents.image(i).size for i in range(3)] == [(60, 50), (4, 4), (1, 1)]
    assert [(h.width, h.height) for h in map(contents.header, range(3)) if h] == [(60, 50), (4, 4), (1, 1)]
    np.testing.assert_array_equal(np.asarray(contents.image(1)), placed(1)[0][2:6, 2:6])


def test_parquet_options_are_refused_for_other_sources(tmp_path: Path) -> None:
    for options, message in (
        ({"variant": "box"}, "--variant box: --data digits has no boxes"),
        ({"label_column": "x"}, "--label-column x: is for parquet:GLOB, but --data is digits; leave it out"),
    ):
        with pytest.raises(InputError, match=message):
            prepare(DataSpec(source="digits", **options), cache=tmp_path)
