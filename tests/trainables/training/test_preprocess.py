import pytest
import torch

from search_spaces import DataShape
from search_spaces.mlp import MLP
from trainables.data import TrainData
from trainables.training.preprocess import Preprocess, preprocess_of

SHAPE = DataShape(samples=10, channels=3, height=8, width=10, classes=2)


def counted(images: int) -> torch.Tensor:
    """Images whose pixels are their position, from 0 to 79."""
    return torch.arange(80, dtype=torch.uint8).reshape(1, 1, 8, 10).expand(images, 3, 8, 10)


def windows(layer: Preprocess, images: torch.Tensor) -> torch.Tensor:
    return (layer(images) * 255).round().int()


def test_training_sees_windows_at_random_of_each_image() -> None:
    torch.manual_seed(0)
    layer = Preprocess(SHAPE, size=(6, 7)).train()
    seen = windows(layer, counted(500))
    assert seen.shape == (500, 3, 6, 7)
    corners = seen[:, 0, 0, 0]
    assert set(corners.tolist()) == {10 * top + left for top in range(3) for left in range(4)}
    whole = torch.arange(6)[:, None] * 10 + torch.arange(7)
    assert (seen == corners[:, None, None, None] + whole).all()


def test_evaluation_sees_the_centre() -> None:
    layer = Preprocess(SHAPE, size=(6, 7)).eval()
    seen = windows(layer, counted(2))
    assert seen.shape == (2, 3, 6, 7)
    assert (seen[:, :, 0, 0] == 11).all()
    assert torch.equal(seen, windows(layer, counted(2)))


def test_images_of_another_size_are_resized_before_the_cut() -> None:
    layer = Preprocess(SHAPE, size=(6, 7)).eval()
    assert layer(torch.zeros(2, 3, 40, 60, dtype=torch.uint8)).shape == (2, 3, 6, 7)


def test_a_window_is_a_part_of_each_side_and_a_multiple_of_what_is_asked() -> None:
    whole = preprocess_of(MLP(), SHAPE)
    assert (whole.output.height, whole.output.width) == (8, 10)
    part = preprocess_of(MLP(window=0.8), SHAPE)
    assert (part.output.height, part.output.width, part.output.pixels) == (6, 8, 3 * 48)
    patches = preprocess_of(MLP(), SHAPE, multiple=4)
    assert (patches.output.height, patches.output.width) == (8, 8)


def test_half_maps_bytes_to_one_below_and_above_zero_whatever_the_data(digits: TrainData) -> None:
    layer = preprocess_of(MLP(normalize="half"), digits.shape)
    layer.measure(digits.train)
    ends = layer(torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 1, 8, 8))
    assert ends[0].unique().item() == pytest.approx(-1)
    assert ends[1].unique().item() == pytest.approx(1)
