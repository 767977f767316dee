import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from search_spaces.space.errors import InputError
from search_spaces.space.shape import DataShape
from trainables.data import DataSpec, Prepared, prepare

from .pictures import fill, noise, save


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fill(tmp_path / "data", {"a": 40, "b": 20})


def prepared(root: Path, **options: object) -> Prepared:
    return prepare(DataSpec(source=str(root), **options), cache=root.parent / "cache")


def rows(of: Prepared) -> dict[str, set[str]]:
    """The paths of each split."""
    names = of.store.names()
    return {split: {names[row] for row in found} for split, found in of.splits.items()}


def test_the_card_says_what_the_data_are(root: Path) -> None:
    (root / "notes.txt").write_text("")
    data = prepared(root)
    card = data.card
    assert card["source"] == str(root)
    assert card["store"] == str(data.store.path)
    assert Path(card["store"]).is_absolute()
    assert card["classes"] == ["a", "b"]
    assert card["images"] == {"train": 42, "val": 9, "test": 9}
    assert card["counts"] == {"train": {"a": 28, "b": 14}, "val": {"a": 6, "b": 3}, "test": {"a": 6, "b": 3}}
    assert card["shape"] == {
        "samples": 42,
        "channels": 3,
        "height": 8,
        "width": 8,
        "classes": 2,
        "mirrors": True,
        "imbalance": 2.0,
    }
    assert data.shape == DataShape(**card["shape"])
    assert card["resize"] == {
        "rule": "shorter side to the size, antialiased bilinear, centre crop",
        "side": 8,
    }
    assert card["decoded_now"] is True
    assert prepared(root).card["decoded_now"] is False
    assert card["ignored_files"] == 1
    assert card["bad_images"] == card["warnings"] == []
    assert card["duplicates"]["across_splits"] == {"total": 0, "pairs": []}
    assert DataSpec(**card["spec"]) == DataSpec(source=str(root))


def test_the_splits_are_disjoint_and_hold_every_image(root: Path) -> None:
    found = rows(prepared(root))
    assert sum(len(names) for names in found.values()) == 60
    assert len(set.union(*found.values())) == 60


def test_an_experiment_folder_gets_the_card_and_the_splits(root: Path, tmp_path: Path) -> None:
    data = prepared(root)
    data.write(tmp_path / "experiment")
    written = sorted(str(p.relative_to(tmp_path / "experiment")) for p in (tmp_path / "experiment").rglob("*.*"))
    assert written == ["data.json", "splits/test.npy", "splits/train.npy", "splits/val.npy"]
    assert json.loads((tmp_path / "experiment" / "data.json").read_text()) == json.loads(json.dumps(data.card))
    for split, expected in data.splits.items():
        saved = np.load(tmp_path / "experiment" / "splits" / f"{split}.npy")
        np.testing.assert_array_equal(saved, expected)
        assert saved.dtype == np.int64


def test_the_digest_does_not_depend_on_place_times_or_names_that_keep_their_order(root: Path, tmp_path: Path) -> None:
    digest = prepared(root).digest
    copy = Path(shutil.copytree(root, tmp_path / "elsewhere" / "copy"))
    for path in copy.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    (copy / "a" / "000.png").rename(copy / "a" / "0000.png")
    assert prepared(copy).digest == digest


def test_the_digest_changes_with_pixels_labels_classes_size_and_split(root: Path) -> None:
    digests = [prepared(root).digest]
    digests += [
        prepared(root, **options).digest
        for options in ({"seed": 1}, {"limit": 20}, {"split": (0.5, 0.25, 0.25)}, {"image_size": 7})
    ]
    (root / "a" / "039.png").rename(root / "b" / "a39.png")
    digests.append(prepared(root).digest)
    save(root / "b" / "000.png", noise(1000))
    digests.append(prepared(root).digest)
    (root / "b").rename(root / "c")
    digests.append(prepared(root).digest)
    assert len(set(digests)) == len(digests) == 8


def test_the_digest_of_the_images_changes_with_a_label_alone(root: Path) -> None:
    before = prepared(root)
    (root / "a" / "039.png").rename(root / "b" / "-.png")  # still between 038 of "a" and 000 of "b"
    after = prepared(root)
    np.testing.assert_array_equal(after.store.digests, before.store.digests)
    assert after.card["images_digest"] != before.card["images_digest"]


def test_the_images_of_val_and_test_are_known_at_any_size_and_beside_any_train(root: Path) -> None:
    evaluated = prepared(root).card["evaluated"]
    assert set(evaluated) == {"val", "test"}
    for same in ({"limit": 12}, {"image_size": 7}):
        assert prepared(root, **same).card["evaluated"] == evaluated
    other = prepared(root, seed=1).card["evaluated"]
    assert all(other[split][by] != evaluated[split][by] for split in other for by in ("pixels", "names"))


def test_the_images_of_a_split_are_told_by_their_pixels_labels_and_classes(tmp_path: Path) -> None:
    layout = {f"{split}/{name}": 4 for split in ("train", "val", "test") for name in ("a", "b")}
    root = fill(tmp_path / "data", layout)
    before = prepared(root).card["evaluated"]
    save(root / "train" / "a" / "more.png", noise(1000))
    assert prepared(root).card["evaluated"] == before
    (root / "test" / "a" / "003.png").rename(root / "test" / "b" / "-.png")  # still between 002 of "a" and 000 of "b"
    labelled = prepared(root).card["evaluated"]
    assert labelled["val"] == before["val"]
    assert labelled["test"]["pixels"] != before["test"]["pixels"]
    save(root / "val" / "a" / "000.png", noise(1001))
    changed = prepared(root).card["evaluated"]
    assert changed["val"]["pixels"] != before["val"]["pixels"]
    assert changed["val"]["names"] == before["val"]["names"]
    for split in ("train", "val", "test"):
        (root / split / "b").rename(root / split / "c")
    renamed = prepared(root).card["evaluated"]
    assert all(renamed[split][by] != changed[split][by] for split in renamed for by in ("pixels", "names"))


def test_a_limit_shortens_train_alone(root: Path) -> None:
    whole, limited = prepared(root), prepared(root, limit=12)
    assert limited.card["counts"]["train"] == {"a": 8, "b": 4}
    assert limited.card["images_left_out"] == 30
    assert limited.shape.samples == 12
    for split in ("val", "test"):
        np.testing.assert_array_equal(limited.splits[split], whole.splits[split])
    assert set(limited.splits["train"]) < set(whole.splits["train"])
    assert prepared(root, limit=10_000).digest == whole.digest


def test_a_broken_image_is_refused_by_name_with_the_way_out(root: Path) -> None:
    (root / "a" / "005.png").write_bytes(b"no image")
    with pytest.raises(InputError) as caught:
        prepared(root)
    assert str(caught.value) == (
        "cannot decode a/005.png: not an image of a known format. "
        "Mend or remove such files, or leave them out with --on-bad-image skip"
    )
    (root / "b" / "001.png").write_bytes((root / "b" / "001.png").read_bytes()[:100])
    with pytest.raises(InputError, match=r"cannot decode a/005.png: not an .* \(and 1 more such images\)\. Mend"):
        prepared(root)


def test_a_broken_image_is_skipped_and_listed_when_asked(root: Path) -> None:
    (root / "a" / "005.png").write_bytes(b"no image")
    data = prepared(root, on_bad_image="skip")
    assert data.card["bad_images"] == [{"path": "a/005.png", "reason": "not an image of a known format"}]
    assert data.card["warnings"] == ["left out, as they cannot be decoded: a/005.png"]
    assert sum(data.card["images"].values()) == 59
    assert "a/005.png" not in set.union(*rows(data).values())
    with pytest.raises(InputError, match=r"cannot decode a/005\.png"):
        prepared(root)  # the store is there now, and still refused


def test_a_mended_image_is_taken_up(root: Path) -> None:
    (root / "a" / "005.png").write_bytes(b"no image")
    prepared(root, on_bad_image="skip")
    save(root / "a" / "005.png", noise(5))
    assert sum(prepared(root).card["images"].values()) == 60


def test_a_class_of_which_too_few_images_are_whole_is_refused(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {"a": 9, "b": 3})
    (root / "b" / "000.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="class 'b' has 2 images, but needs at least 3, one for each of: train"):
        prepared(root, on_bad_image="skip")


def test_groups_are_found_in_the_path_and_never_parted(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {f"{name}/p{i}": 3 for i in range(12) for name in "ab"})
    data = prepared(root, group_by=r"/(p\d+)/")
    assert data.card["groups"] == 12
    patients = [{name.split("/")[1] for name in names} for names in rows(data).values()]
    assert all(patients)
    assert sum(map(len, patients)) == len(set.union(*patients)) == 12
    assert prepared(root, group_by=r"p\d+").digest == data.digest


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        (r"patient(\d+)", r"does not match a/000.png; it must find the group of every image in its path"),
        (r"^b/(x)?|^a", r"does not match a/000.png"),
        ("(", r"--group-by \(: is not a regular expression"),
    ],
)
def test_a_group_that_cannot_be_found_is_refused(root: Path, group_by: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepared(root, group_by=group_by)


def test_identical_images_are_kept_in_one_split(root: Path) -> None:
    for i in range(30):
        save(root / "a" / f"copy{i}.bmp", noise(i % 3))  # copies of three pictures in "a"
    data = prepared(root)
    assert data.card["duplicates"]["across_splits"]["total"] == 0
    for i in range(3):
        copies = {f"a/{i:03d}.png"} | {f"a/copy{j}.bmp" for j in range(i, 30, 3)}
        assert sum(1 for names in rows(data).values() if names & copies) == 1


def test_identical_images_across_the_splits_of_a_source_are_reported_and_stay(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {f"{split}/{name}": 4 for split in ("train", "val", "test") for name in "ab"})
    for name in ("train/a/x.png", "test/a/x.bmp", "test/b/x.png"):
        save(root / name, noise(99))
    card = prepared(root).card
    assert card["images"] == {"train": 9, "val": 8, "test": 10}
    across = card["duplicates"]["across_splits"]
    assert across["total"] == 2
    assert [[image["path"] for image in pair] for pair in across["pairs"]] == [
        ["test/a/x.bmp", "train/a/x.png"],
        ["test/b/x.png", "train/a/x.png"],
    ]
    assert across["pairs"][0][0] == {"path": "test/a/x.bmp", "split": "test", "class": "a"}
    assert card["duplicates"]["across_labels"]["total"] == 2
    assert [warning.split(",")[0] for warning in card["warnings"]] == [
        "2 pairs of identical images lie in two splits",
        "2 pairs of identical images have different labels: no model can get both right",
    ]


def test_of_many_identical_images_a_hundred_pairs_are_listed(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {f"{split}/{name}": 4 for split in ("train", "val", "test") for name in "ab"})
    for i in range(20):
        save(root / "train" / "a" / f"x{i}.png", noise(99))
        save(root / "val" / "a" / f"x{i}.png", noise(99))
    across = prepared(root).card["duplicates"]["across_splits"]
    assert across["total"] == 400
    assert len(across["pairs"]) == 100


def test_strong_imbalance_and_absent_classes_are_warned_of(tmp_path: Path) -> None:
    layout = {"train/a": 30, "train/b": 3, "val/a": 2, "test/a": 2, "test/b": 2}
    data = prepared(fill(tmp_path / "data", layout))
    assert data.shape.imbalance == 10.0
    assert data.card["warnings"] == [
        "train is imbalanced: largest class 'a' (30) to smallest 'b' (3) is 10.0 to 1",
        "val has no image of 1 of 2 classes: b",
    ]


def test_groups_across_the_splits_of_a_source_are_warned_of(tmp_path: Path) -> None:
    layout = {f"{split}/{name}": 4 for split in ("train", "val", "test") for name in "ab"}
    card = prepared(fill(tmp_path / "data", layout), group_by=r"\d+").card
    assert card["warnings"][0].startswith("4 of 4 groups lie in several splits")
    assert card["images"] == {"train": 8, "val": 8, "test": 8}


def test_a_name_that_is_not_utf8_goes_through(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {"a": 4, "b": 4})
    (root / "a" / "000.png").rename(os.fsdecode(os.fsencode(root / "a") + b"/caf\xe9.png"))
    (root / "b").rename(os.fsdecode(os.fsencode(root) + b"/\xff"))
    data = prepared(root)
    data.write(tmp_path / "experiment")
    card = json.loads((tmp_path / "experiment" / "data.json").read_text())
    assert card["classes"] == ["a", "\udcff"]


def test_without_a_share_there_is_no_test_split(root: Path, tmp_path: Path) -> None:
    data = prepared(root, split=("rest", 12, 0))
    assert set(data.splits) == {"train", "val"}
    assert data.card["images"] == {"train": 48, "val": 12, "test": 0}
    assert data.card["counts"]["test"] == {"a": 0, "b": 0}
    assert data.card["warnings"] == []
    assert DataSpec(**json.loads(json.dumps(data.card["spec"]))).split == ["rest", 12, 0]
    data.write(tmp_path / "experiment")
    assert sorted(path.name for path in (tmp_path / "experiment" / "splits").iterdir()) == ["train.npy", "val.npy"]


@pytest.mark.parametrize("split", [(0.8, 0.2, 0.0), ("rest", 4, 0)])
def test_a_folder_with_train_and_val_is_dealt_a_test_only_where_it_has_a_share(
    tmp_path: Path, split: tuple[object, ...]
) -> None:
    root = fill(tmp_path / "data", {f"{split}/{name}": 20 for split in ("train", "val") for name in "ab"})
    card = prepared(root, split=split).card
    assert card["images"] == {"train": 40, "val": 40, "test": 0}
    assert card["warnings"] == []
    assert prepared(root).card["images"] == {"train": 32, "val": 40, "test": 8}


def test_images_beyond_a_number_for_train_are_left_out(root: Path) -> None:
    card = prepared(root, split=(30, 9, 9)).card
    assert card["images"] == {"train": 30, "val": 9, "test": 9}
    assert card["counts"]["train"] == {"a": 20, "b": 10}
    assert card["images_left_out"] == 12


def test_numbers_that_groups_do_not_allow_are_warned_of(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {f"{name}/p{i}": 7 for i in range(8) for name in "ab"})
    card = prepared(root, group_by=r"p\d+", split=("rest", 20, 0)).card
    count = card["images"]["val"]
    assert count % 14 == 0
    assert card["warnings"] == [f"val has {count} images instead of 20, as some have to stay together"]


def test_classes_that_are_written_alike_become_one(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", {"Sea  lion": 10, "sea_lion": 10, "Bus": 10})
    apart, data = prepared(root), prepared(root, normalize_classes=True)
    assert apart.card["classes"] == ["Bus", "Sea  lion", "sea_lion"]
    assert data.card["classes"] == ["bus", "sea_lion"]
    assert data.shape.classes == 2
    assert {split: counts["sea_lion"] for split, counts in data.card["counts"].items()} == {
        "train": 14,
        "val": 3,
        "test": 3,
    }
    assert data.card["warnings"] == [
        "classes of which several names are one once normalized: 'sea_lion' is 'Sea  lion', 'sea_lion'"
    ]
    assert data.digest != apart.digest
    assert data.store.key == apart.store.key
    assert not data.card["decoded_now"]


def test_classes_that_nothing_is_evaluated_on_are_left_out_with_their_counts(tmp_path: Path) -> None:
    layout = {"train/a": 5, "train/b": 6, "train/c": 7, "train/d": 8, "val/b": 3, "val/d": 3, "test/c": 2, "test/d": 2}
    root = fill(tmp_path / "data", layout)
    data = prepared(root, drop_unseen_classes=True)
    assert data.card["classes"] == ["b", "c", "d"]
    assert data.card["counts"]["train"] == {"b": 6, "c": 7, "d": 8}
    assert data.card["dropped_classes"] == {"a": 5}
    assert data.card["images_left_out"] == 5
    assert data.card["warnings"][0] == (
        "left out of train, as they occur neither in val nor in test: 1 classes with 5 images: a (5)"
    )
    assert not any(name.startswith("train/a/") for name in rows(data)["train"])
    assert prepared(root).card["dropped_classes"] == {}


def test_unseen_classes_are_found_after_their_names_are_normalized(tmp_path: Path) -> None:
    layout = {"train/A": 5, "train/a": 5, "train/b": 5, "train/c": 5, "val/a": 3, "val/b": 3}
    root = fill(tmp_path / "data", layout)
    data = prepared(root, drop_unseen_classes=True, normalize_classes=True, split=(0.8, 0.2, 0))
    assert data.card["counts"] == {"train": {"a": 10, "b": 5}, "val": {"a": 3, "b": 3}, "test": {"a": 0, "b": 0}}


@pytest.mark.parametrize(
    ("layout", "options", "message"),
    [
        (
            {"a": 9, "b": 9},
            {"drop_unseen_classes": True},
            "--drop-unseen-classes: the data come without a val and a te",
        ),
        (
            {"a": 9, "A": 9},
            {"normalize_classes": True},
            r"1 of 2 classes are left \(a\), and telling classes apart take",
        ),
        (
            {"train/a": 9, "train/b": 9, "val/a": 3},
            {"drop_unseen_classes": True},
            r"1 of 2 classes are left \(a\).*leave out --normalize-classes or --drop-unseen-classes",
        ),
    ],
)
def test_rules_that_leave_nothing_to_tell_apart_are_refused(
    tmp_path: Path, layout: dict[str, int], options: dict[str, bool], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepared(fill(tmp_path / "data", layout), **options)


def test_it_is_said_where_test_was_taken_from_train(tmp_path: Path, cache: Path) -> None:
    root = fill(tmp_path / "data", {"train/a": 20, "train/b": 20, "val/a": 4, "val/b": 4})
    card = prepare(DataSpec(source=str(root)), cache=cache).card
    test = card["images"]["test"]
    assert test > 0
    assert card["warnings"] == [
        f"test was taken from train, as the data come without it: {test} images; --split says otherwise"
    ]
    assert prepare(DataSpec(source=str(root), split=(0.85, 0.15, 0.0)), cache=cache).card["warnings"] == []
