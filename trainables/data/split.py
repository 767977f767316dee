"""Dealing images to train, val and test: by the seed, stratified, and without parting images that belong together.

Images are ordered by a hash of the seed and their pixels, not by a random generator. So the split depends neither on
file names nor on NumPy's version, and a larger `limit` keeps all images that a smaller one kept.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from search_spaces.space.errors import InputError
from trainables.data.classes import normalized
from trainables.data.spec import SPLITS, TRAIN, UNASSIGNED, Shares, are_counts, shares_text

Codes = npt.NDArray[np.int8]
Labels = npt.NDArray[np.int64]
Digests = npt.NDArray[np.uint8]


def split_images(
    *,
    labels: Labels,
    official: Codes,
    digests: Digests,
    groups: Sequence[str] | None,
    classes: tuple[str, ...],
    shares: Shares,
    seed: int,
) -> Codes:
    """Assign every image to a split.

    Splits that the source provides stay. Missing ones are dealt: out of all images of a source without splits, else out
    of its train images. Numbers of images are met exactly if no images have to stay together, else as closely as
    possible.

    Args:
        labels: (N,), indices into `classes`.
        official: (N,), the source's own split of an image, or UNASSIGNED.
        digests: uint8 (N, 16), equal for images with equal pixels.
        groups: N names; images with the same one stay together. None: no groups.
        classes: names of the classes.
        shares: of train, val and test, as `DataSpec.split`; a split whose share is 0 is not dealt.
        seed: of the order in which images are dealt.

    Returns:
        Codes (N,): indices into SPLITS, or UNASSIGNED for train images beyond their number.

    Raises:
        InputError: if a class is too small to be in each dealt split, or a split is too small to hold each class, or
            the shares ask for more images than there are.
    """
    fixed = set(np.unique(official).tolist()) - {UNASSIGNED, TRAIN}
    dealt = [code for code in range(len(SPLITS)) if code not in fixed and shares[code] != 0]
    free = np.flatnonzero((official == UNASSIGNED) | (official == TRAIN))
    totals = np.bincount(labels[free], minlength=len(classes))
    _check_enough(totals, "image", "images", classes, dealt)
    codes = official.copy()
    if dealt == [TRAIN]:
        return codes
    seats = _seats(shares, dealt, len(free), len(classes)) if are_counts(shares) else None
    wanted: Sequence[float] = seats or [float(shares[code]) for code in dealt]
    units = _units(digests[free], None if groups is None else [groups[i] for i in free.tolist()], seed)
    free_labels = labels[free].tolist()
    contents = [_count(free_labels[i] for i in unit) for unit in units]
    holding = np.bincount([label for content in contents for label in content], minlength=len(classes))
    together = "of images that stay together (a group, or identical)"
    _check_enough(holding, f"set {together}", f"sets {together}", classes, dealt)
    chosen = _deal(contents, totals.tolist(), wanted, seats)
    for unit, choice in zip(units, chosen, strict=True):
        codes[free[unit]] = dealt[choice]
    untrained = sorted(set(range(len(classes))) - set(labels[codes == TRAIN].tolist()))
    if untrained:
        raise InputError(
            f"class {classes[untrained[0]]!r} has no image in train, as its groups hold other classes too: "
            "give another --seed or a finer --group-by"
        )
    train = shares[TRAIN]
    if seats and train != "rest" and train < seats[0]:
        return limit_train(codes, labels=labels, digests=digests, classes=classes, limit=int(train), seed=seed)
    return codes


def limit_train(
    codes: Codes, *, labels: Labels, digests: Digests, classes: tuple[str, ...], limit: int, seed: int
) -> Codes:
    """Keep `limit` train images, stratified by class with at least one each, and unassign the others.

    Raises:
        InputError: if `limit` is smaller than the number of classes.
    """
    train = np.flatnonzero(codes == TRAIN)
    if limit < len(classes):
        raise InputError(f"--limit {limit}: must be at least {len(classes)}, one train image for each class")
    ordered = train[_order(digests[train], seed)]
    order_labels = labels[ordered]
    sizes = np.bincount(order_labels, minlength=len(classes))
    by_class = np.argsort(order_labels, kind="stable")
    rank = np.empty(len(ordered), np.int64)
    rank[by_class] = np.arange(len(ordered)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # Sainte-Lague's method: unlike rounded quotas, its seats only grow with the size of the house.
    priority = np.where(rank == 0, 0, (rank + 0.5) / sizes[order_labels])
    left_out = ordered[np.argsort(priority, kind="stable")[limit:]]
    limited = codes.copy()
    limited[left_out] = UNASSIGNED
    return limited


def _units(digests: Digests, groups: Sequence[str] | None, seed: int) -> list[list[int]]:
    """Collect the images that must stay together, the largest unit first and equal ones in the seed's order.

    Images are joined by a group or by equal pixels, also transitively: if a picture occurs in two groups, both groups
    stay together.
    """
    from scipy.sparse import coo_array  # takes half a second, which workers do not need to wait for
    from scipy.sparse.csgraph import connected_components

    count = len(digests)
    keys = [np.unique(digests.view("V16").ravel(), return_inverse=True)[1]]
    if groups is not None:
        keys.append(np.unique(np.array(groups, dtype=object), return_inverse=True)[1])
    # A graph of images, then a node for each digest, then one for each group.
    images, nodes, size = [], [], count
    for key in keys:
        images.append(np.arange(count))
        nodes.append(key.ravel() + size)
        size += int(key.max()) + 1
    edges = (np.ones(count * len(keys), np.int8), (np.concatenate(images), np.concatenate(nodes)))
    _, component = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    units: dict[int, list[int]] = {}
    for i in _order(digests, seed):
        units.setdefault(int(component[i]), []).append(i)
    return sorted(units.values(), key=len, reverse=True)


def _order(digests: Digests, seed: int) -> list[int]:
    """Order images by a hash of the seed and their pixels."""
    salt = f"{seed} ".encode()
    keys = [hashlib.blake2b(salt + digest.tobytes(), digest_size=8).digest() for digest in digests]
    return sorted(range(len(keys)), key=keys.__getitem__)


def _count(labels: Iterable[int]) -> dict[int, int]:
    """Count labels as a Counter would; a Counter takes many times longer to build for the usual single image."""
    counts: dict[int, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    return counts


def _seats(shares: Shares, dealt: list[int], images: int, classes: int) -> list[int]:
    """Turn numbers of images into seats for all `images`; the surplus goes to "rest", else to train."""
    numbers = {code: 0 if shares[code] == "rest" else int(shares[code]) for code in dealt}
    beyond = images - sum(numbers.values())
    if beyond < 0:
        raise InputError(
            f"--split {shares_text(shares)}: asks for {sum(numbers.values())} images of "
            f"{', '.join(SPLITS[code] for code in dealt)}, but there are {images} to deal; ask for fewer"
        )
    numbers[next((code for code in dealt if shares[code] == "rest"), TRAIN)] += beyond
    for code, number in numbers.items():
        if number < classes or (shares[code] != "rest" and int(shares[code]) < classes):
            raise InputError(
                f"--split {shares_text(shares)}: leaves {SPLITS[code]} fewer than {classes} images, one for each "
                "class; change the numbers"
            )
    return list(numbers.values())


def _deal(
    units: Sequence[dict[int, int]], totals: Sequence[int], wanted: Sequence[float], seats: Sequence[int] | None
) -> list[int]:
    """Choose a split for each unit, given as its number of images by class, the largest units first.

    A unit goes to the split where it brings the counts nearest to the proportions of `wanted`, by chi-square distance.
    For single images this is Sainte-Lague's method: each class is within one image of its share. The presence of each
    class in every split has priority: its last units go to the splits that still lack it. With `seats`, a full split is
    not chosen while another has room, and each split keeps a seat for each class it still lacks. So single images fill
    all seats exactly.
    """
    have = [[0] * len(totals) for _ in wanted]
    lacking = [len(wanted)] * len(totals)
    left = Counter(label for unit in units for label in unit)
    everywhere = range(len(wanted))
    free = [number - len(totals) for number in seats] if seats else []  # seats that are not kept for a class

    def cost(to: int) -> float:
        # The growth of the distance, without the terms that are equal for every choice.
        return sum(n * (n + 2 * have[to][label]) / (wanted[to] * totals[label]) for label, n in unit.items())

    def taken(to: int) -> int:
        return sum(n - (have[to][label] == 0) for label, n in unit.items())

    chosen = []
    for unit in units:
        urgent = [label for label in unit if 0 < lacking[label] >= left[label]]
        hungry = [to for to in everywhere if any(have[to][label] == 0 for label in urgent)] if urgent else []
        roomy = [to for to in everywhere if taken(to) <= free[to]] if free and not hungry else []
        choice = min(hungry or roomy or everywhere, key=cost)
        if free:
            free[choice] -= taken(choice)
        for label, n in unit.items():
            lacking[label] -= have[choice][label] == 0
            have[choice][label] += n
            left[label] -= 1
        chosen.append(choice)
    return chosen


def _check_enough(
    counts: npt.NDArray[np.int64], thing: str, things: str, classes: tuple[str, ...], dealt: list[int]
) -> None:
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count < len(dealt):
            splits = ", ".join(SPLITS[code] for code in dealt)
            alike = next((other for other in classes if other != name and normalized(other) == normalized(name)), None)
            one = "" if alike is None else f", make one class of it and {alike!r} with --normalize-classes"
            has = f"{count} {thing if count == 1 else things}"
            raise InputError(
                f"class {name!r} has {has}, but needs at least {len(dealt)}, one for each of: {splits}. "
                f"Add images of this class{one}, or leave it out"
            )
