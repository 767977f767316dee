"""One Ray session for all, whose workers know the recipe for tests."""

import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

import search_spaces

RECIPES = Path(__file__).parent.parent / "recipes"


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    os.environ["PYTHONPATH"] = str(RECIPES / "site")
    runpy.run_path(str(RECIPES / "site" / "sitecustomize.py"))
    search_spaces.recipes.cache_clear()
    ray.init(
        address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False,
        object_store_memory=128 * 2**20,
    )  # fmt: skip
    yield
    ray.shutdown()
