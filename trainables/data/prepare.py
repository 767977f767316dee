"""The step from a data spec to images in the store, their splits, and a card that describes them."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.space.errors import InputError
from search_spaces.space.shape import DataShape
from trainables.data.build import Progress
from trainables.data.classes import DROPPED, Classes, class_rules
from trainables.data.contents import Source
from trainables.data.data_card import describe
from trainables.data.image_folder import ImageFolder
from trainables.data.sources import open_source
from trainables.data.spec import SPLITS, UNASSIGNED, DataSpec
from trainables.data.split import Codes, limit_train, split_images
from trainables.data.store import Store, ensure_store, share
from trainables.storage.files import whole

PREPARED = ("data.json", *(f"splits/{split}.npy" for split in SPLITS))
"""The files that `Prepared.write` writes into a folder; an empty split has no file."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A data set that is decoded and split.

    Attributes:
        store: the decoded images.
        splits: the rows of the store, int64, ascending, for "train", "val" and, if there is one, "test".
        card: the description of the data, as written to `data.json`.
    """

    store: Store
    splits: dict[str, npt.NDArray[np.int64]]
    card: dict[str, Any]

    @property
    def digest(self) -> str:
        """The digest of images, labels and splits: equal if and only if a search would see the same data."""
        return str(self.card["digest"])

    @property
    def shape(self) -> DataShape:
        """The sizes of the data."""
        return DataShape(**self.card["shape"])

    def write(self, folder: Path) -> None:
        """Write `data.json` and `splits/SPLIT.npy` for each split into an experiment folder."""
        (folder / "splits").mkdir(parents=True, exist_ok=True)
        for split, rows in self.splits.items():
            np.save(folder / "splits" / f"{split}.npy", rows)
        # The card comes last and in one step: if it is there, the splits are too.
        with whole(folder / "data.json") as draft:
            draft.write_text(json.dumps(self.card, indent=2) + "\n")

    def share(self, shared: str) -> None:
        """Copy the decoded images to a folder or URL for `bring_store` on other nodes, unless they are there.

        Raises:
            OSError: the place cannot be written.
        """
        share(self.store.path, shared)


def prepare(spec: DataSpec, *, cache: Path, progress: Progress | None = None) -> Prepared:
    """Decode a data set once, split it and describe it.

    Args:
        spec: the data set.
        cache: folder of the image stores, shared by all searches of a machine.
        progress: called with (images done, images in all) while images are decoded; not called if the store exists
            already.

    Raises:
        InputError: if the source cannot be used as the spec says.
    """
    (prepared,) = prepare_input_variants([spec], cache=cache, progress=progress)
    return prepared


def prepare_input_variants(
    specs: Sequence[DataSpec], *, cache: Path, progress: Progress | None = None
) -> list[Prepared]:
    """Decode a data set once for each input variant, and split it once.

    All results have the same images, those that can be seen in every variant, and the split dealt for the first.

    Args:
        specs: the data set, with different `variant` and `image_size`; after the first, an `image_size` of None is the
            first's side.
        cache: as for `prepare`.
        progress: as for `prepare`.

    Raises:
        InputError: if the source cannot be used as a spec says.
    """
    input_variants: list[_Seen] = []
    for spec in specs:
        side = input_variants[0].store.images.shape[-1] if input_variants else None
        input_variants.append(_see(replace(spec, image_size=spec.image_size or side), cache, progress))
    first = input_variants[0]
    classes = class_rules(
        first.store, normalize=first.spec.normalize_classes, drop_unseen=first.spec.drop_unseen_classes
    )
    codes = _split(
        first, classes, seen_by_all=set.intersection(*(set(input_variant.names) for input_variant in input_variants))
    )
    split_of = dict(zip(first.names, codes.tolist(), strict=True))
    bad = list({image["path"]: image for input_variant in input_variants for image in input_variant.store.bad}.values())
    prepared = []
    for input_variant in input_variants:
        own = (
            codes
            if input_variant is first
            else np.array([split_of.get(name, UNASSIGNED) for name in input_variant.names], np.int8)
        )
        card = describe(
            input_variant.spec,
            input_variant.source,
            input_variant.store,
            classes,
            own,
            names=input_variant.names,
            groups=input_variant.groups,
            bad=bad,
            decoded_now=input_variant.decoded_now,
        )
        splits = {split: np.flatnonzero(own == code) for code, split in enumerate(SPLITS) if card["images"][split]}
        prepared.append(Prepared(store=input_variant.store, splits=splits, card=card))
    return prepared


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A data set in the variant and size of one spec, decoded but not split."""

    spec: DataSpec
    source: Source
    store: Store
    names: list[str]
    groups: list[str] | None
    decoded_now: bool


def _see(spec: DataSpec, cache: Path, progress: Progress | None) -> _Seen:
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
    return _Seen(spec=spec, source=source, store=store, names=names, groups=groups, decoded_now=decoded_now)


def _split(input_variant: _Seen, classes: Classes, *, seen_by_all: Collection[str]) -> Codes:
    """Return the split of each image in one input variant, or UNASSIGNED."""
    spec, store, groups = input_variant.spec, input_variant.store, input_variant.groups
    labels = classes.labels(store)
    kept = np.flatnonzero((labels != DROPPED) & np.array([name in seen_by_all for name in input_variant.names]))
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
    return codes


def _refusal(bad: Sequence[dict[str, str]]) -> str:
    more = f" (and {len(bad) - 1} more such images)" if len(bad) > 1 else ""
    return (
        f"cannot decode {bad[0]['path']}: {bad[0]['reason']}{more}. "
        "Mend or remove such files, or leave them out with --on-bad-image skip"
    )


def _groups(names: Sequence[str], group_by: str) -> list[str]:
    """Return the group of each image: the first match in its path."""
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
