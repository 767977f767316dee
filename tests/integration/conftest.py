"""One Ray session for all."""

from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    ray.init(
        address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False,
        object_store_memory=128 * 2**20,
    )  # fmt: skip
    yield
    ray.shutdown()
