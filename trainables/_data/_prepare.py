"""From a data spec to images in the store, their splits, and a card that says what they are."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces._errors import InputError
from search_spaces._shape import DataShape
from trainables._data._build import Progress
from trainables._data._card import describe
from trainables._data._classes import DROPPED, class_rules
from trainables._data._folder import ImageFolder
from trainables._data._sources import open_source
from trainables._data._spec import SPLITS, UNASSIGNED, DataSpec
from trainables._data._split import limit_train, split_images
from trainables._data._store import Store, ensure_store, share
from trainables._files import whole

PREPARED = ("data.json", *(f"splits/{split}.npy" for split in SPLITS))
"""The files that `Prepared.write` writes into a folder; of a split that is empty, none."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A data set that is decoded and split.

    Attributes:
        store: the decoded images.
        splits: for "train", "val" and, if there is one, "test" the rows of the store, int64, ascending.
        card: what the data are, as written to `data.json`.
    """

    store: Store
    splits: dict[str, npt.NDArray[np.int64]]
    card: dict[str, Any]

    @property
    def digest(self) -> str:
        """Digest of images, labels and splits: equal if and only if a search would see the same data."""
        return str(self.card["digest"])

    @property
    def shape(self) -> DataShape:
        """Sizes of the data."""
        return DataShape(**self.card["shape"])

    def write(self, folder: Path) -> None:
        """Write `data.json` and `splits/SPLIT.npy` for each split into an experiment folder."""
        (folder / "splits").mkdir(parents=True, exist_ok=True)
        for split, rows in self.splits.items():
            np.save(folder / "splits" / f"{split}.npy", rows)
        # The card comes last and in one step: where it is, the splits are.
        with whole(folder / "data.json") as draft:
            draft.write_text(json.dumps(self.card, indent=2) + "\n")

    def share(self, shared: str) -> None:
        """Copy the decoded images to a folder or URL for `bring_store` on other machines, unless they are there.

        Raises:
            OSError: it cannot be written.
        """
        share(self.store.path, shared)


def prepare(spec: DataSpec, *, cache: Path, progress: Progress | None = None) -> Prepared:
    """Decode a data set once, split it and describe it.

    Args:
        spec: the data set.
        cache: folder of the image stores, shared by all searches of a machine.
        progress: called with (images done, images in all) while images are decoded, and not at all if the
            store is there already.

    Raises:
        InputError: if the source cannot be used as the spec says.
    """
    source = open_source(spec)
    if spec.group_by is not None and not isinstance(source, ImageFolder):
        raise InputError(f"--group-by searches in paths, but --data {spec.source} is not an image folder; leave it out")
    store, decoded_now = ensure_store(
        source, image_size=spec.image_size, variant=spec.variant, cache=cache, progress=progress
    )
    if spec.on_bad_image == "refuse" and store.bad:
        raise InputError(_refusal(store.bad))
    names = store.names()
    groups = None if spec.group_by is None else _groups(names, spec.group_by)
    classes = class_rules(store, normalize=spec.normalize_classes, drop_unseen=spec.drop_unseen_classes)
    labels = classes.labels(store)
    kept = np.flatnonzero(labels != DROPPED)
    codes = np.full(len(labels), UNASSIGNED, np.int8)
    codes[kept] = split_images(
        labels=labels[kept],
        official=store.official[kept],
        digests=store.digests[kept],
        groups=None if groups is None else [groups[i] for i in kept.tolist()],
        classes=classes.names,
        shares=spec.split,
        seed=spec.seed,
    )
    if spec.limit is not None:
        codes = limit_train(
            codes,
            labels=labels,
            digests=store.digests,
            classes=classes.names,
            limit=spec.limit,
            seed=spec.seed,
        )
    card = describe(spec, source, store, classes, codes, names=names, groups=groups, decoded_now=decoded_now)
    splits = {split: np.flatnonzero(codes == code) for code, split in enumerate(SPLITS) if card["images"][split]}
    return Prepared(store=store, splits=splits, card=card)


def _refusal(bad: Sequence[dict[str, str]]) -> str:
    more = f" (and {len(bad) - 1} more such images)" if len(bad) > 1 else ""
    return (
        f"cannot decode {bad[0]['path']}: {bad[0]['reason']}{more}. "
        "Mend or remove such files, or leave them out with --on-bad-image skip"
    )


def _groups(names: Sequence[str], group_by: str) -> list[str]:
    """Name the group of each image by the first match in its path."""
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise InputError(
            f"--group-by {group_by}: is not a regular expression ({error}); write one, such as '^([^_]+)_'"
        ) from error
    groups = []
    for name in names:
        match = pattern.search(name)
        group = match and match[1 if pattern.groups else 0]
        if group is None:
            raise InputError(
                f"--group-by {group_by}: does not match {name}; it must find the group of every image in its "
                "path relative to the folder"
            )
        groups.append(group)
    return groups
