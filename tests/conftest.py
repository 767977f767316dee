"""Data that many tests share: real digits, prepared once.

Imports are in the fixtures, because pytest-xdist loads this file before it starts its workers, which import for
themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trainables._data import TrainData


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with data.json and splits of a stratified part of the digits."""
    from trainables._data import DataSpec, prepare

    folder = tmp_path_factory.mktemp("digits")
    prepare(DataSpec(source="digits", limit=300), cache=cache).write(folder)
    return folder


@pytest.fixture(scope="session")
def digits(digits_folder: Path) -> TrainData:
    import torch

    from trainables._data import load_train

    return load_train(digits_folder, torch.device("cpu"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tests compare figures that depend on the number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
