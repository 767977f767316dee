"""Data that many tests share: real digits, prepared once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trainables._data import DataSpec, TrainData, load_train, prepare

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with data.json and splits of a stratified part of the digits."""
    folder = tmp_path_factory.mktemp("digits")
    prepare(DataSpec(source="digits", limit=300), cache=cache).write(folder)
    return folder


@pytest.fixture(scope="session")
def digits(digits_folder: Path) -> TrainData:
    return load_train(digits_folder, CPU)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tests compare figures that depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
