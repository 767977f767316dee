"""Data that many tests share: real digits, prepared once.

Imports are in the fixtures, because pytest-xdist loads this file before it starts its workers, which import for
themselves.
"""

from __future__ import annotations

import gc
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.postgres import Postgres
    from trainables.data import TrainData


def pytest_configure() -> None:
    """Restore Ctrl-C: a shell's background job ignores it, and processes started by the tests inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Exempt imported modules from garbage collection, which would scan them again after every few tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with data.json and splits of a stratified part of the digits."""
    from trainables.data import DataSpec, prepare

    folder = tmp_path_factory.mktemp("digits")
    prepare(DataSpec(source="digits", limit=300), cache=cache).write(folder)
    return folder


@pytest.fixture(scope="session")
def digits(digits_folder: Path) -> TrainData:
    import torch

    from trainables.data import load_train

    return load_train(digits_folder, torch.device("cpu"))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray session for all tests of a process, with one core, as another process runs tests beside it."""
    import ray

    ray.init(address="local", num_cpus=1, num_gpus=0, include_dashboard=False, object_store_memory=128 * 2**20)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Postgres]:
    from tests.postgres import missing, postgres_server

    if reason := missing():
        pytest.skip(reason)
    pytest.importorskip("psycopg")
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres(_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """A PostgreSQL with an empty database, whose password is in the environment."""
    from tests.postgres import PASSWORD

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    _postgres.empty()
    return _postgres


@pytest.fixture
def readme_recipe(tmp_path: Path) -> Path:
    """A folder with the recipe of docs/add-a-recipe.md, `linear`."""
    folder = tmp_path / "my_recipes"
    text = (Path(__file__).parent.parent / "docs" / "add-a-recipe.md").read_text()
    (block,) = re.findall(r"```python\n(# search_spaces/.*?)```", text, re.DOTALL)
    for part in re.split(r"^# (?=\w+/\w+\.py$)", block, flags=re.MULTILINE)[1:]:
        name, _, code = part.partition("\n")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(code.strip() + "\n")
    return folder


@pytest.fixture
def _forgets_recipes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the outside recipes that a test registered."""
    import search_spaces
    import trainables
    from trainables.training.protocol import build_of, train_of

    packages = (search_spaces, trainables)
    for package in packages:
        monkeypatch.setattr(package, "__path__", list(package.__path__))
    yield
    for package in packages:
        home = Path(package.__file__).parent
        for name, module in list(vars(package).items()):
            file = getattr(module, "__file__", None)
            if sys.modules.get(f"{package.__name__}.{name}") is module and file and home not in Path(file).parents:
                del sys.modules[module.__name__]
                delattr(package, name)
    for cached in (search_spaces.space_of, train_of, build_of):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread, as tests compare figures that depend on the number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
