"""Data: decoded once into a store, split, and loaded so that a trial cannot see test."""

from trainables._data._decode import Box, BrokenImageError, decode
from trainables._data._load import Split, TrainData, TrainOn, load_test, load_train
from trainables._data._prepare import Prepared, prepare
from trainables._data._spec import DataSpec, Shares, Variant

__all__ = [
    "Box",
    "BrokenImageError",
    "DataSpec",
    "Prepared",
    "Shares",
    "Split",
    "TrainData",
    "TrainOn",
    "Variant",
    "decode",
    "load_test",
    "load_train",
    "prepare",
]
