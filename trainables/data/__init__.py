"""Data: decoded once into a store, split, and loaded so that a trial cannot see test."""

from typing import TYPE_CHECKING, Any

from trainables.data.data_card import read_card
from trainables.data.decode import Box, BrokenImageError, decode
from trainables.data.prepare import PREPARED, Prepared, prepare, prepare_input_variants
from trainables.data.spec import DataSpec, Shares, TrainOn

if TYPE_CHECKING:
    from trainables.data.load import (
        Split,
        TrainData,
        bring_store,
        has_test,
        load_test,
        load_train,
        names_of,
    )

__all__ = [
    "PREPARED",
    "Box",
    "BrokenImageError",
    "DataSpec",
    "Prepared",
    "Shares",
    "Split",
    "TrainData",
    "TrainOn",
    "bring_store",
    "decode",
    "has_test",
    "load_test",
    "load_train",
    "names_of",
    "prepare",
    "prepare_input_variants",
    "read_card",
]


def __getattr__(name: str) -> Any:
    """Import names that load onto a device on first access: decoding an image does not need torch."""
    if name in __all__:
        from trainables.data import load as _load

        return getattr(_load, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
