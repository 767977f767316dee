import dataclasses

import pytest
import torch

from search_spaces.mlp import MLP
from trainables.data import TrainData
from trainables.training.augmentation import augmentation
from trainables.training.augmentation_policies import Policy, policy_of


@pytest.mark.parametrize("policy", ["trivial", "rand"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_has_operations_of_its_own_and_stays_an_image(policy: str, channels: int, digits: TrainData) -> None:
    torch.manual_seed(0)
    image = digits.train.batch(torch.tensor([0]))[0].repeat(64, channels, 1, 1)
    space = MLP(policy=policy, rotation=0.0, crop=0.0)
    varied = augmentation(space, dataclasses.replace(digits.shape, channels=channels))(image)
    assert varied.shape == image.shape
    assert varied.min() >= 0
    assert varied.max() <= 255
    assert not varied.requires_grad
    unlike = {tuple(v.round().flatten().tolist()) for v in varied}
    assert len(unlike) > 20


def test_the_rows_that_are_drawn_are_operated_on_and_others_left() -> None:
    torch.manual_seed(0)

    class Add(torch.nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images + self.number

    varied = Policy([Add(1), Add(2)], draws=1)(torch.zeros(3000, 1, 1, 1)).flatten()
    counts = torch.bincount(varied.int(), minlength=3)
    assert len(counts) == 3
    assert counts.min() > 900  # left alone, 1 or 2, evenly
    assert Policy([Add(1)], draws=2)(torch.zeros(1000, 1, 1, 1)).max() == 2


def test_a_larger_magnitude_turns_further() -> None:
    torch.manual_seed(0)
    bar = torch.zeros(1, 1, 33, 33)
    bar[:, :, 16] = 1.0

    def change(magnitude: int) -> float:
        turn = policy_of(MLP(policy="rand", magnitude=magnitude), 1).operations[2]
        return float((turn(bar) - bar).abs().sum())

    assert change(28) > 1.5 * change(4)
