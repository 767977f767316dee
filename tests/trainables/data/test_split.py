import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from search_spaces.space.errors import InputError
from trainables.data import DataSpec
from trainables.data.spec import Shares
from trainables.data.split import limit_train, split_images

THREE = (0.70, 0.15, 0.15)


def unique_digests(count: int, seed: int = 0) -> np.ndarray:
    digests = [hashlib.sha256(f"{seed} {i}".encode()).digest()[:16] for i in range(count)]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(count, 16).copy()


def split(
    labels: Sequence[int],
    *,
    official: Sequence[int] | None = None,
    digests: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
    classes: tuple[str, ...] | None = None,
    shares: Shares = THREE,
    seed: int = 0,
) -> np.ndarray:
    return split_images(
        labels=np.array(labels, np.int64),
        official=np.array([-1] * len(labels) if official is None else official, np.int8),
        digests=unique_digests(len(labels)) if digests is None else digests,
        groups=groups,
        classes=classes or tuple(f"class {i}" for i in range(max(labels) + 1)),
        shares=shares,
        seed=seed,
    )


def counts(codes: np.ndarray, labels: Sequence[int]) -> list[list[int]]:
    """Images of each split by class."""
    return [np.bincount(np.array(labels)[codes == code]).tolist() for code in range(3)]


@pytest.mark.parametrize("fractions", [THREE, (0.5, 0.25, 0.25), (0.98, 0.01, 0.01), (0.1, 0.1, 0.8)])
def test_each_class_is_split_by_the_fractions_to_within_one_image(
    fractions: tuple[float, float, float],
) -> None:
    labels = [0] * 1000 + [1] * 200 + [2] * 100
    found = counts(split(labels, shares=fractions), labels)
    for row, fraction in zip(found, fractions, strict=True):
        np.testing.assert_allclose(row, [1000 * fraction, 200 * fraction, 100 * fraction], atol=1)


def test_a_class_of_three_images_has_one_in_each_split() -> None:
    labels = [0] * 100 + [1] * 3
    assert [row[1] for row in counts(split(labels), labels)] == [1, 1, 1]


def test_the_split_is_that_of_the_seed() -> None:
    labels = [0, 1] * 50
    np.testing.assert_array_equal(split(labels), split(labels))
    assert (split(labels) != split(labels, seed=1)).any()


def test_the_split_is_the_same_in_every_version_and_on_every_machine() -> None:
    codes = split([0, 1] * 10, shares=(0.5, 0.25, 0.25))
    assert "".join(map(str, codes)) == "00010211102100120020"


def test_an_image_keeps_its_split_when_files_are_renamed() -> None:
    labels, digests = np.arange(100) % 2, unique_digests(100)
    order = np.random.default_rng(1).permutation(100)
    codes = split(labels.tolist(), digests=digests)
    np.testing.assert_array_equal(codes[order], split(labels[order].tolist(), digests=digests[order]))


def test_a_group_is_never_parted() -> None:
    rng = np.random.default_rng(0)
    groups = [f"patient {i}" for i in rng.integers(0, 60, 600)]
    labels = rng.integers(0, 3, 600).tolist()
    codes = split(labels, groups=groups)
    for group in set(groups):
        assert len({int(code) for code, name in zip(codes, groups, strict=True) if name == group}) == 1
    for row, fraction in zip(counts(codes, labels), THREE, strict=True):
        np.testing.assert_allclose(row, [200 * fraction] * 3, atol=15)


def test_identical_images_are_never_parted() -> None:
    rng = np.random.default_rng(0)
    digests = unique_digests(80)[rng.integers(0, 80, 400)]
    codes = split([i % 2 for i in range(400)], digests=digests)
    for digest in np.unique(digests, axis=0):
        assert len(set(codes[(digests == digest).all(axis=1)].tolist())) == 1


def test_groups_that_share_a_picture_stay_together() -> None:
    digests = unique_digests(40)
    groups = [f"g{i // 2}" for i in range(40)]
    for i in range(0, 18, 2):  # the second image of each of ten groups is the first of the next
        digests[i + 2] = digests[i + 1]
    codes = split([i // 2 % 2 for i in range(40)], digests=digests, groups=groups)
    assert len(set(codes[:20].tolist())) == 1
    assert set(codes.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("sizes", [(50, 40, 5, 5), (5, 5, 5), (30, 1, 1), (8, 4, 4, 2, 2)])
def test_a_class_of_few_groups_is_in_each_split(sizes: tuple[int, ...]) -> None:
    groups = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    labels = [0] * len(groups) + [1] * 20
    found = counts(split(labels, groups=groups + [f"b{i}" for i in range(20)]), labels)
    assert all(row[0] > 0 for row in found)
    assert found[0][0] == max(row[0] for row in found)


def test_a_split_that_the_source_lacks_is_taken_from_train() -> None:
    labels = [0, 1] * 100
    official = [0] * 170 + [2] * 30
    codes = split(labels, official=official)
    assert (codes[170:] == 2).all()
    assert np.bincount(codes[:170]).tolist() == [140, 30]
    codes = split(labels, official=[0] * 170 + [1] * 30)
    assert np.bincount(codes).tolist() == [140, 30, 30]
    codes = split(labels, official=[0] * 200)
    assert np.bincount(codes).tolist() == [140, 30, 30]


def test_splits_that_are_all_there_stay_even_with_duplicates_across() -> None:
    official = [0, 0, 1, 1, 2, 2]
    digests = np.zeros((6, 16), np.uint8)
    np.testing.assert_array_equal(split([0, 1] * 3, official=official, digests=digests), official)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (
            [0] * 9 + [1] * 2,
            {},
            "class 'class 1' has 2 images, but needs at least 3, one for each of: train, ",
        ),
        (
            [0, 1, 0, 1, 0],
            {"official": [0, 0, 1, 1, 0]},
            "'class 1' has 1 image, but needs at least 2, .*test",
        ),
        (
            [0] * 9 + [1],
            {"classes": ("sea_lion", "Sea lion")},
            "'Sea lion' has 1 image, .*, make one class of it and 'sea_lion' with --normalize-classes, or leave it out",
        ),
        ([0, 0, 1], {"official": [0, 1, 2]}, "'class 1' has 0 images, but needs at least 1"),
        (
            [0] * 9 + [1] * 9,
            {"groups": ["x"] * 5 + ["y"] * 4 + [str(i) for i in range(9)]},
            "'class 0' has 2 sets of images that stay together .*, but needs at least 3",
        ),
        (
            [0] * 9 + [1] * 9,
            {"digests": np.concatenate([np.zeros((9, 16), np.uint8), unique_digests(9)])},
            r"'class 0' has 1 set of .*Add images of this class, or leave it out",
        ),
    ],
)
def test_a_class_that_cannot_be_in_each_split_is_refused(
    labels: list[int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        split(labels, **options)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        (("rest", 100, 0), [1200, 100, 0]),
        (("rest", 130, 70), [1100, 130, 70]),
        ((500, "rest", 100), [500, 700, 100]),
        ((500, 130, 70), [500, 130, 70]),
        (("rest", 3, 3), [1294, 3, 3]),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_numbers_of_images_are_met_exactly_and_stratified(shares: Shares, expected: list[int], seed: int) -> None:
    labels = [0] * 1000 + [1] * 297 + [2] * 3
    codes = split(labels, shares=shares, seed=seed)
    assert [int((codes == code).sum()) for code in range(3)] == expected
    for row, number in zip(counts(codes, labels), expected, strict=True):
        if number:
            np.testing.assert_allclose(row[0], number * 1000 / 1300, atol=3)
            assert min(row) > 0


def test_numbers_of_images_are_met_as_nearly_as_groups_allow() -> None:
    codes = split([0, 1] * 60, groups=[f"g{i // 7}" for i in range(120)], shares=("rest", 20, 0))
    assert 14 <= (codes == 1).sum() <= 26
    assert set(codes.tolist()) == {0, 1}


def test_numbers_of_images_are_dealt_out_of_train_where_the_source_has_a_test() -> None:
    labels, official = [0, 1] * 100, [0] * 170 + [2] * 30
    codes = split(labels, official=official, shares=("rest", 20, 10))
    assert (codes[170:] == 2).all()
    assert np.bincount(codes).tolist() == [150, 20, 30]


@pytest.mark.parametrize("shares", [(0.8, 0.2, 0.0), ("rest", 40, 0)])
def test_without_a_share_there_is_no_test(shares: Shares) -> None:
    labels = [0, 1] * 100
    assert np.bincount(split(labels, shares=shares)).tolist() == [160, 40]
    official = [0] * 160 + [1] * 40  # as a folder with train/ and val/ has it
    assert split(labels, official=official, shares=shares).tolist() == official


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (("rest", 90, 20), "--split rest,90,20: asks for 110 images of train, val, test, but there are 100 to deal"),
        ((90, 10, 10), "--split 90,10,10: asks for 110 images"),
        (("rest", 90, 10), "--split rest,90,10: leaves train fewer than 2 images, one for each class"),
        (("rest", 1, 10), "--split rest,1,10: leaves val fewer than 2 images"),
        ((1, 10, 10), "--split 1,10,10: leaves train fewer than 2 images"),
    ],
)
def test_numbers_of_images_that_cannot_be_met_are_refused(shares: Shares, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split([0, 1] * 50, shares=shares)


def limited(labels: Sequence[int], limit: int, seed: int = 0) -> np.ndarray:
    codes = limit_train(
        np.array([0] * len(labels) + [1, 2], np.int8),
        labels=np.array([*labels, 0, 0]),
        digests=unique_digests(len(labels) + 2),
        classes=tuple(f"class {i}" for i in range(max(labels) + 1)),
        limit=limit,
        seed=seed,
    )
    assert codes[-2:].tolist() == [1, 2]
    return np.flatnonzero(codes == 0)


@pytest.mark.parametrize(("limit", "expected"), [(100, [75, 20, 5]), (40, [30, 8, 2]), (3, [1, 1, 1])])
def test_a_limit_keeps_that_many_in_proportion_and_one_of_each_class(limit: int, expected: list[int]) -> None:
    labels = [0] * 750 + [1] * 200 + [2] * 50
    found = np.bincount(np.array(labels)[limited(labels, limit)])
    assert found.sum() == limit
    np.testing.assert_allclose(found, expected, atol=1)


def test_a_larger_limit_keeps_all_that_a_smaller_one_kept() -> None:
    labels = [0] * 97 + [1] * 41 + [2] * 5
    kept = [set(limited(labels, limit).tolist()) for limit in range(3, 144)]
    assert all(small < large for small, large in pairwise(kept))


def test_a_limit_beyond_the_images_keeps_them_all() -> None:
    assert len(limited([0, 1, 1], 1000)) == 3


def test_the_images_that_a_limit_keeps_are_those_of_the_seed() -> None:
    labels = [0, 1] * 100
    assert limited(labels, 50).tolist() == limited(labels, 50).tolist()
    assert limited(labels, 50).tolist() != limited(labels, 50, seed=1).tolist()


def test_a_limit_below_the_number_of_classes_is_refused() -> None:
    with pytest.raises(InputError, match="--limit 2: must be at least 3, one train image for each class"):
        limited([0, 1, 2, 2], 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "--image-size 0: must be at least 1 pixel"),
        ({"limit": 0}, "--limit 0: must be at least 1 image"),
        ({"on_bad_image": "ignore"}, "--on-bad-image ignore: must be refuse or skip"),
        ({"split": (0.5, 0.5)}, "--split 0.5,0.5: must be three fractions that sum to 1, or three numbers of images"),
        ({"split": (0.8, 0.1, 0.2)}, "--split 0.8,0.1,0.2: must be three fractions that sum to 1"),
        ({"split": (1.2, -0.1, -0.1)}, "--split 1.2,-0.1,-0.1: must be three"),
        ({"split": (float("nan"), 0.5, 0.5)}, "--split nan,0.5,0.5: must be three"),
        ({"split": (float("inf"), 100, 0)}, "--split inf,100,0: must be three"),
        ({"split": ("rest", 100.5, 0)}, "--split rest,100.5,0: must be three"),
        ({"split": ("rest", 100, 0.2)}, "--split rest,100,0.2: must be three"),
        ({"split": ("rest", 0.2, 0)}, "--split rest,0.2,0: must be three"),
        ({"split": ("rest", "rest", 9)}, "--split rest,rest,9: must be three"),
        ({"split": (0.8, 0.0, 0.2)}, "--split 0.8,0,0.2: leaves val empty, but only test may be; write for instance"),
        ({"split": (1.0, 0.0, 0.0)}, "--split 1,0,0: leaves val empty"),
        ({"split": (0, 100, "rest")}, "--split 0,100,rest: leaves train empty"),
        ({"variant": "boxes"}, "--variant boxes: must be whole or box"),
        ({"box_column": "b"}, "--box-column b: boxes are read with --variant box only"),
    ],
)
def test_a_spec_outside_its_ranges_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataSpec(source="digits", **options)
