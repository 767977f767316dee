"""A bootstrap of made-up predictions, which need not be exact."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def draws_of(count: int) -> Iterator[None]:
    """Take so many draws for each interval and comparison."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tune.finals.intervals.DRAWS", count)
        yield
