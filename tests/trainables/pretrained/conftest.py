"""The data of the fine-tuning tests."""

from pathlib import Path

import pytest
import torch

from trainables.data import DataSpec, TrainData, load_train, prepare


@pytest.fixture(scope="session")
def few_folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("few")
    prepare(DataSpec(source="digits", limit=50), cache=cache).write(folder)
    return folder


@pytest.fixture(scope="session")
def few(few_folder: Path) -> TrainData:
    """Fifty digits to train on."""
    return load_train(few_folder, torch.device("cpu"))
