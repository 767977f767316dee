"""A lab with a head and two workers, for the tests of a module; there is one lab at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import Lab, require_lab

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    require_lab()
    with Lab(tmp_path_factory.mktemp("lab"), ["head", "one", "two"], checkout=ROOT) as lab:
        yield lab
