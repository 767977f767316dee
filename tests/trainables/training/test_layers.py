import pytest
import torch
from torch import nn

from trainables.training.layers import GridPool


@pytest.mark.parametrize(("height", "width", "grid"), [(8, 8, 4), (7, 7, 4), (5, 9, 2), (4, 4, 4), (6, 3, 1)])
def test_pooling_is_that_of_torch(height: int, width: int, grid: int) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, height, width)
    pooled = GridPool(height, width, grid)(images)
    cells = (min(grid, height), min(grid, width))
    torch.testing.assert_close(pooled, nn.AdaptiveAvgPool2d(cells)(images))


def test_an_image_smaller_than_the_grid_stays_as_it_is() -> None:
    pool = GridPool(2, 3, 4)
    images = torch.rand(1, 1, 2, 3)
    assert torch.equal(pool(images), images)
    assert pool.cells == 6
