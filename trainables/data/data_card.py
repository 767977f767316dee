"""The data card: the data of a search, and the facts to know before trusting its figures."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import combinations, islice
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.space.errors import InputError
from search_spaces.space.space import Variant
from trainables.data.classes import Classes, joined
from trainables.data.contents import Source
from trainables.data.decode import RESIZE_RULES
from trainables.data.spec import SPLITS, UNASSIGNED, DataSpec, Shares, are_counts
from trainables.data.split import Codes
from trainables.data.store import Store

_LISTED_PAIRS = 100
_STRONG_IMBALANCE = 10
_NAMED = 3


def describe(
    spec: DataSpec,
    source: Source,
    store: Store,
    classes: Classes,
    codes: Codes,
    *,
    names: Sequence[str],
    groups: Sequence[str] | None,
    bad: Sequence[dict[str, str]],
    decoded_now: bool,
) -> dict[str, Any]:
    """Compile the card, JSON-able: digests, sizes, counts, doubtful images and warnings.

    Args:
        spec: the data settings.
        source: the source that was read.
        store: the decoded images.
        classes: the classes of the search, made from the store's.
        codes: (N,), the split of each image of the store, or UNASSIGNED.
        names: N paths.
        groups: N groups, or None.
        bad: the images that cannot be decoded, or not cut to their boxes if boxes are wanted, with path and reason.
        decoded_now: True if the images were decoded for this card.
    """
    labels = classes.labels(store)
    counts = {
        split: np.bincount(labels[codes == code], minlength=len(classes.names)) for code, split in enumerate(SPLITS)
    }
    duplicates = find_duplicates(store.digests, labels, codes, names=names, classes=classes.names)
    _, channels, height, width = store.images.shape
    return {
        "source": source.name,
        "spec": asdict(spec),
        **_digests(store, classes, spec.variant, codes),
        "evaluated": {
            split: _evaluated(source, store, classes, names, np.flatnonzero(codes == SPLITS.index(split)))
            for split in ("val", "test")
        },
        "store": str(store.path),
        "store_key": store.key,
        "resize": {"rule": RESIZE_RULES[spec.variant], "side": height},
        "variant": spec.variant,
        "classes": list(classes.names),
        "label_of_store": list(classes.label_of_store),
        "dropped_classes": classes.dropped,
        "shape": {
            "samples": int(counts["train"].sum()),
            "channels": channels,
            "height": height,
            "width": width,
            "classes": len(classes.names),
            "mirrors": source.mirrors,
            "imbalance": float(counts["train"].max() / counts["train"].min()),
        },
        "images": {split: int(count.sum()) for split, count in counts.items()},
        "images_left_out": int((codes == UNASSIGNED).sum()),
        "counts": {split: dict(zip(classes.names, count.tolist(), strict=True)) for split, count in counts.items()},
        "splits_of_source": [split for code, split in enumerate(SPLITS) if (store.official == code).any()],
        "groups": None if groups is None else len(set(groups)),
        "decoded_now": decoded_now,
        "bad_images": list(bad),
        "ignored_files": source.ignored,
        "duplicates": duplicates,
        "warnings": [
            *source.notes,
            *_class_warnings(store.classes, classes),
            *_share_warnings(spec.split, store.official, codes),
            *_test_warnings(store.official, codes),
            *_count_warnings(classes.names, counts),
            *_duplicate_warnings(duplicates),
            *_group_warnings(groups, codes),
            *_bad_warnings(bad),
        ],
    }


def find_duplicates(
    digests: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    codes: Codes,
    *,
    names: Sequence[str],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Find pairs of identical images in two splits, and under two labels, among the images in a split.

    Returns:
        For "across_splits" and "across_labels" the total of such pairs, and the first 100 of them with path, split and
        class of both images.
    """
    used = np.flatnonzero(codes != UNASSIGNED)
    _, inverse, sizes = np.unique(digests[used].view("V16").ravel(), return_inverse=True, return_counts=True)
    by_digest = used[np.argsort(inverse.ravel(), kind="stable")]
    starts = np.cumsum(sizes) - sizes
    sets = [by_digest[starts[k] : starts[k] + sizes[k]] for k in np.flatnonzero(sizes > 1)]
    sets.sort(key=lambda rows: int(rows[0]))

    def summary(mark: npt.NDArray[Any]) -> dict[str, Any]:
        total = sum(_unequal_pairs(mark[rows]) for rows in sets)
        pairs = (pair for rows in sets for pair in combinations(rows.tolist(), 2) if mark[pair[0]] != mark[pair[1]])
        return {
            "total": total,
            "pairs": [[image(row) for row in pair] for pair in islice(pairs, _LISTED_PAIRS)],
        }

    def image(row: int) -> dict[str, str]:
        return {
            "path": names[row],
            "split": SPLITS[codes[row]],
            "class": classes[labels[row]],
        }

    return {"across_splits": summary(codes), "across_labels": summary(labels)}


def _unequal_pairs(marks: npt.NDArray[Any]) -> int:
    """Count the pairs whose marks differ."""
    _, counts = np.unique(marks, return_counts=True)
    return comb(len(marks), 2) - sum(comb(count, 2) for count in counts.tolist())


def images_digest(store: Store, classes: Classes, variant: Variant) -> str:
    """Digest the images that a search sees, without their place, their names and their time of writing."""
    meaning = {"classes": classes.names, "shape": store.images.shape, "resize": RESIZE_RULES[variant]}
    parts = [json.dumps(meaning).encode(), store.digests.tobytes(), classes.labels(store).tobytes()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _digests(store: Store, classes: Classes, variant: Variant, codes: Codes) -> dict[str, str]:
    digests = {
        "images_digest": images_digest(store, classes, variant),
        "split_digest": hashlib.sha256(codes.tobytes()).hexdigest(),
    }
    both = "".join(digests.values())
    return {"digest": hashlib.sha256(both.encode()).hexdigest(), **digests}


def _evaluated(
    source: Source, store: Store, classes: Classes, names: Sequence[str], rows: npt.NDArray[np.int64]
) -> dict[str, str]:
    """Digest the images of a split, so that others can tell if models were evaluated on the same ones.

    The first digest is of their pixels at full size, so that neither the stored size nor the train split matters. The
    second is of their names in the source, because the pixels differ if images are cut to boxes.
    """
    labels = classes.labels(store)[rows]

    def digest(what: Sequence[object], content: bytes = b"") -> str:
        return hashlib.sha256(json.dumps([*what, classes.names]).encode() + content + labels.tobytes()).hexdigest()

    return {
        "pixels": digest([], store.digests[rows].tobytes()),
        "names": digest([source.name, [names[row] for row in rows.tolist()]]),
    }


def _class_warnings(before: Sequence[str], classes: Classes) -> Iterator[str]:
    if several := joined(before, classes):
        some = "; ".join(f"{name!r} is {', '.join(map(repr, names))}" for name, names in islice(several.items(), 10))
        more = f"; and {len(several) - 10} more" if len(several) > 10 else ""
        yield f"classes of which several names are one once normalized: {some}{more}"
    if classes.dropped:
        some = ", ".join(f"{name} ({count})" for name, count in islice(classes.dropped.items(), 10))
        yield (
            f"left out of train, as they occur neither in val nor in test: {len(classes.dropped)} classes with "
            f"{sum(classes.dropped.values())} images: {some}"
        )


def _share_warnings(shares: Shares, official: Codes, codes: Codes) -> Iterator[str]:
    if not are_counts(shares):
        return
    for code, (split, share) in enumerate(zip(SPLITS, shares, strict=True)):
        count = int((codes == code).sum())
        if split != "train" and share not in ("rest", count) and not (official == code).any():
            yield f"{split} has {count} images instead of {share:g}, as some have to stay together"


def _test_warnings(official: Codes, codes: Codes) -> Iterator[str]:
    train, test = SPLITS.index("train"), SPLITS.index("test")
    if taken := int(((official == train) & (codes == test)).sum()):
        yield f"test was taken from train, as the data come without it: {taken} images; --split says otherwise"


def _count_warnings(classes: Sequence[str], counts: dict[str, npt.NDArray[np.int64]]) -> Iterator[str]:
    train = counts["train"]
    ratio = train.max() / train.min()
    if ratio >= _STRONG_IMBALANCE:
        largest, smallest = classes[int(train.argmax())], classes[int(train.argmin())]
        yield (
            f"train is imbalanced: largest class {largest!r} ({train.max()}) to smallest {smallest!r} "
            f"({train.min()}) is {ratio:.1f} to 1"
        )
    for split in ("val", "test"):
        if not counts[split].any():  # no test split
            continue
        absent = [name for name, count in zip(classes, counts[split], strict=True) if count == 0]
        if absent:
            yield f"{split} has no image of {len(absent)} of {len(classes)} classes: {', '.join(absent[:10])}"


def _duplicate_warnings(duplicates: dict[str, Any]) -> Iterator[str]:
    if total := duplicates["across_splits"]["total"]:
        yield (
            f"{total} pairs of identical images lie in two splits, as the source comes split that way: "
            "they make figures on val and test too good"
        )
    if total := duplicates["across_labels"]["total"]:
        yield f"{total} pairs of identical images have different labels: no model can get both right"


def _group_warnings(groups: Sequence[str] | None, codes: Codes) -> Iterator[str]:
    if groups is None:
        return
    splits_of: dict[str, set[int]] = {}
    for group, code in zip(groups, codes.tolist(), strict=True):
        if code != UNASSIGNED:
            splits_of.setdefault(group, set()).add(code)
    parted = sorted(group for group, splits in splits_of.items() if len(splits) > 1)
    if parted:
        yield (
            f"{len(parted)} of {len(splits_of)} groups lie in several splits, as the source comes split "
            f"that way: {', '.join(parted[:10])}"
        )


def _bad_warnings(bad: Sequence[dict[str, str]]) -> Iterator[str]:
    if bad:
        named = ", ".join(image["path"] for image in bad[:_NAMED])
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        yield f"left out, as they cannot be decoded: {named}{more}"


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of the data in a folder, `data.json`.

    Raises:
        InputError: the folder holds no prepared data.
    """
    try:
        card: dict[str, Any] = json.loads((folder / "data.json").read_text())
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no data.json: it is not an experiment with prepared data") from error
    return card
