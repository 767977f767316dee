"""A lab with a head and two workers, for the tests of a module; a process has one lab at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import Lab, require_lab

ROOT = Path(__file__).parent.parent.parent
LONGEST = ("test_on_prem.py", "test_storage.py", "test_partition.py", "test_nodes.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take longest, as modules run beside each other."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    require_lab()
    with Lab(tmp_path_factory.mktemp("lab"), ["head", "one", "two"], checkout=ROOT) as lab:
        yield lab
