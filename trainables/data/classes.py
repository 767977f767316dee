"""Class rules: joining names that normalize alike, and dropping classes that no evaluation contains.

They change labels and never pixels, so one store serves a data set under any rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search_spaces.space.errors import InputError
from trainables.data.spec import SPLITS, TRAIN
from trainables.data.store import Store

DROPPED = -1
"""The label of an image whose class is left out."""


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes of a search, made from those of a store.

    Attributes:
        names: of the classes, in the order of their labels.
        label_of_store: the label here for each label of the store, or DROPPED.
        dropped: names of the classes that were left out, with their numbers of train images.
    """

    names: tuple[str, ...]
    label_of_store: tuple[int, ...]
    dropped: dict[str, int]

    def labels(self, store: Store) -> npt.NDArray[np.int64]:
        """Return the labels int64 (N,) of the store's images, or DROPPED."""
        return np.array(self.label_of_store, np.int64)[store.labels]


def class_rules(store: Store, *, normalize: bool, drop_unseen: bool) -> Classes:
    """Apply the class rules of a `DataSpec` to a store; without a rule the classes stay as they are.

    Raises:
        InputError: the store does not tell which classes are unseen, or fewer than two classes are left.
    """
    written = [normalized(name) if normalize else name for name in store.classes]
    names = sorted(set(written)) if normalize and len(set(written)) < len(written) else written
    labels = np.array([names.index(name) for name in written])[store.labels]
    dropped: dict[str, int] = {}
    if drop_unseen:
        evaluated = np.isin(store.official, [SPLITS.index("val"), SPLITS.index("test")])
        if not evaluated.any():
            raise InputError(
                "--drop-unseen-classes: the data come without a val and a test split, and each class will be in those "
                "that are dealt; leave it out"
            )
        seen = set(labels[evaluated].tolist())
        trained = np.bincount(labels[store.official == TRAIN], minlength=len(names))
        dropped = {name: int(trained[i]) for i, name in enumerate(names) if i not in seen}
    kept = [name for name in names if name not in dropped]
    if len(kept) < 2:
        raise InputError(
            f"{len(kept)} of {len(store.classes)} classes are left ({', '.join(kept)}), and telling classes apart "
            "takes two: leave out --normalize-classes or --drop-unseen-classes"
        )
    label_of = {name: label for label, name in enumerate(kept)}
    return Classes(
        names=tuple(kept),
        label_of_store=tuple(label_of.get(name, DROPPED) for name in written),
        dropped=dropped,
    )


def normalized(name: str) -> str:
    """Lower-case a name and replace each run of blanks inside it by an underscore."""
    return "_".join(name.lower().split())


def joined(before: Sequence[str], classes: Classes) -> dict[str, list[str]]:
    """Return the classes that join several of the store's classes, with the names of those."""
    written: dict[int, list[str]] = {}
    for name, label in zip(before, classes.label_of_store, strict=True):
        written.setdefault(label, []).append(name)
    return {classes.names[label]: names for label, names in written.items() if label != DROPPED and len(names) > 1}
