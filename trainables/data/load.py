"""Loading from an experiment folder to batches on a device: train and val for trials, test only for the finals."""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from search_spaces.space.errors import InputError
from search_spaces.space.shape import DataShape
from trainables.data.classes import Classes
from trainables.data.data_card import images_digest, read_card
from trainables.data.memory import free_memory
from trainables.data.sources import open_source
from trainables.data.spec import DataSpec, TrainOn
from trainables.data.store import bring, ensure_store
from trainables.storage.pretrained_files import weights_of_experiment

RESIDENT_SHARE = 0.25
"""The fraction of a device's free memory up to which a split is kept there whole.

The rest is for models, for other splits and for the trials beside this one.
"""

_COPIED_AT_ONCE = 64 * 2**20  # bytes per copy to the device, so that a split is never in memory twice


class Split:
    """The images and labels of one split, given in batches on the device.

    A *resident* split lies on the device whole. Any other split is read from the memory-mapped store batch by batch.
    Both give identical batches.

    Attributes:
        labels: int64 (N,), on the device.
        resident: True if the images lie on the device.
        seconds: time spent on giving images, so far and in this process.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        device: torch.device,
        *,
        resident: bool | None = None,
    ) -> None:
        """Take the split that is `rows` of a store.

        Args:
            images: uint8 (M, C, H, W), the memory-mapped images of the store.
            labels: int64 (M,), the labels of the store.
            rows: int64 (N,), ascending.
            device: the device of the batches.
            resident: None decides by the free memory (see RESIDENT_SHARE).
        """
        self._device = device
        self.seconds = 0.0
        self.labels = torch.from_numpy(labels[rows]).to(device)
        size = len(rows) * images[:1].nbytes
        self.resident = fits(size, free_memory(device)) if resident is None else resident
        # a resident split has no reference to the store, which also holds the other splits; any other reaches only
        # `rows`
        self._images: Tensor | None = None
        self._load: Callable[[npt.NDArray[np.int64]], Tensor] | None = None
        if self.resident:
            self._images = copied_rows(images, rows, device)
        else:
            self._load = lambda indices: _take(images, rows[indices], device)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images uint8 (B, C, H, W) and labels int64 (B,) at `indices`, int64 (B,) in 0..N-1."""
        began = time.perf_counter()
        batch = self._batch(indices)
        self.seconds += time.perf_counter() - began
        return batch

    def _batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        on_device = indices.to(self._device)
        labels = self.labels.index_select(0, on_device)
        if self._load is not None:
            return self._load(indices.cpu().numpy()), labels
        assert self._images is not None
        if self._device.type == "cpu":  # NumPy copies whole images; torch's gather takes 10 times as long
            return _take(self._images.numpy(), on_device.numpy(), self._device), labels
        return self._images.index_select(0, on_device), labels

    def part(self, indices: npt.NDArray[np.int64]) -> Self:
        """Return the images at `indices`, int64 (M,) in 0..N-1, as a separate split."""
        part = copy(self)
        on_device = torch.from_numpy(indices).to(self._device)
        part.labels = self.labels.index_select(0, on_device)
        part._images = None if self._images is None else self._images.index_select(0, on_device)
        if (whole := self._load) is not None:
            part._load = lambda within: whole(indices[within])
        return part

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the whole split in order, `size` images at a time, with the remainder in the last batch."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def arrays(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Return a copy of all images, uint8 (N, C, H, W), and labels, int64 (N,), in main memory."""
        began = time.perf_counter()
        if self._load is not None:
            images = self._load(np.arange(len(self))).cpu().numpy()
        else:
            assert self._images is not None
            images = self._images.cpu().numpy().copy()
        self.seconds += time.perf_counter() - began
        return images, self.labels.cpu().numpy().copy()


def fits(size: int, free: int) -> bool:
    """Return True if a split of `size` bytes is kept whole on a device with `free` bytes."""
    return size <= RESIDENT_SHARE * free


def copied_rows(
    images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], device: torch.device, at_once: int = _COPIED_AT_ONCE
) -> Tensor:
    """Copy rows of the store to the device, uint8 (N, C, H, W), about `at_once` bytes at a time."""
    copied = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, device=device)
    step = max(1, at_once // images[:1].nbytes)
    for start in range(0, len(rows), step):
        copied[start : start + step].copy_(torch.from_numpy(images[rows[start : start + step]]))
    return copied


def _take(images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], device: torch.device) -> Tensor:
    """Copy rows of an array in main memory to the device."""
    pinned = device.type == "cuda"  # only then does the copy to the device run while this process goes on
    batch = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
    # mode="clip" lets NumPy write straight into `out`. The caller has checked that the rows exist.
    np.take(images, rows, axis=0, out=batch.numpy(), mode="clip")
    return batch.to(device, non_blocking=True)


@dataclass(frozen=True)
class TrainData:
    """The part of a data set that a trial may see: everything but test.

    Attributes:
        train: the images to learn from.
        val: the images to choose by.
        classes: names of the classes; a label is an index into them.
        shape: sizes; `samples` counts the images of train.
        device: the device of the batches.
        weights: files of pretrained weights, by `RECIPE.MODEL`.
    """

    train: Split
    val: Split
    classes: tuple[str, ...]
    shape: DataShape
    device: torch.device
    weights: Mapping[str, Path] = field(default_factory=dict)

    def folds(self, count: int) -> Iterator["TrainData"]:
        """Yield `count` stratified folds of train, in the order of scikit-learn's `StratifiedKFold`.

        Each fold is val once.
        """
        from sklearn.model_selection import StratifiedKFold  # here, as it takes seconds and trials do not need it

        labels = self.train.labels.cpu().numpy()
        for rest, part in StratifiedKFold(count).split(labels, labels):
            shape = replace(self.shape, samples=len(rest))
            yield replace(self, train=self.train.part(rest), val=self.train.part(part), shape=shape)


def load_train(
    folder: Path, device: torch.device, *, train_on: TrainOn = "train", resident: bool | None = None
) -> TrainData:
    """Load train and val of an experiment folder. The test split is not opened.

    Args:
        folder: the folder that `Prepared.write` wrote.
        device: the device of the batches.
        train_on: "train+val" adds the val images to train; val stays the same, but its metrics mean nothing then.
        resident: True or False to hold the splits on the device or to stream them; None to decide by memory.

    Raises:
        InputError: if the folder holds no prepared data, or this machine does not see its images.
    """
    card = read_card(folder)
    train = _load(folder, card, train_on.split("+"), device, resident)
    return TrainData(
        train=train,
        val=_load(folder, card, ["val"], device, resident),
        classes=tuple(card["classes"]),
        shape=replace(DataShape(**card["shape"]), samples=len(train)),
        device=device,
        weights={name: Path(weights.file) for name, weights in weights_of_experiment(folder).items()},
    )


def has_test(folder: Path) -> bool:
    """Return True if an experiment's data have a test split; else finals are tested on val, and the report says so.

    Raises:
        InputError: if the folder holds no prepared data.
    """
    return bool(read_card(folder)["images"]["test"])


def load_test(folder: Path, device: torch.device, *, resident: bool | None = None) -> Split:
    """Load the test split of an experiment folder: only for the finals, once. Arguments as in `load_train`.

    Raises:
        InputError: if the folder holds no prepared data or no test split, or this machine does not see its images.
    """
    card = read_card(folder)
    if not card["images"]["test"]:
        raise InputError(f"{folder} has no test split, as --split left it none: report figures on val")
    return _load(folder, card, ["test"], device, resident)


def names_of(folder: Path, split: str, positions: npt.NDArray[np.int64]) -> list[str]:
    """Return the paths in the data set of the images at these positions of a split.

    Raises:
        InputError: if the folder holds no prepared data.
    """
    names = json.loads((_store_of(read_card(folder)) / "names.json").read_text())
    return [names[row] for row in np.load(folder / "splits" / f"{split}.npy")[positions]]


def bring_store(folder: Path, shared: str) -> None:
    """Copy the decoded images of an experiment folder to this node, unless they are here.

    Args:
        folder: the folder that `Prepared.write` wrote.
        shared: the place given to `Prepared.share`.

    Raises:
        InputError: if the folder holds no prepared data.
        OSError: if they cannot be copied from there.
    """
    bring(Path(read_card(folder)["store"]), shared)


def _store_of(card: Mapping[str, Any]) -> Path:
    """Return the folder of the decoded images on this node, which decodes them first if another node prepared them."""
    path = Path(card["store"])
    if path.is_dir():
        return path
    spec = DataSpec(**{**card["spec"], "split": tuple(card["spec"]["split"])})
    store, _ = ensure_store(open_source(spec), image_size=spec.image_size, variant=spec.variant, cache=path.parent)
    classes = Classes(names=tuple(card["classes"]), label_of_store=tuple(card["label_of_store"]), dropped={})
    if images_digest(store, classes, spec.variant) != card["images_digest"]:
        raise InputError(
            f"--data {spec.source}: has not the images on {socket.gethostname()} with which the experiment was begun; "
            "bring them back, or give a place that every machine sees alike"
        )
    return store.path


def _load(
    folder: Path, card: dict[str, Any], splits: Sequence[str], device: torch.device, resident: bool | None
) -> Split:
    store = _store_of(card)
    try:
        images = np.load(store / "images.npy", mmap_mode="r")
        labels = np.array(card["label_of_store"])[np.load(store / "labels.npy")]
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"the image store {store} of {folder} is damaged ({error}): delete it, and it is made again from "
            f"{card['source']}"
        ) from error
    rows = np.sort(np.concatenate([np.load(folder / "splits" / f"{split}.npy") for split in splits]))
    return Split(images, labels, rows, device, resident=resident)
