"""TrivialAugment and RandAugment with a separate draw for each image: kornia's operations, applied by rows."""

import torch
from kornia.augmentation.auto import RandAugment, TrivialAugment
from torch import Tensor, nn

from search_spaces.shared.training import Training

Operation = tuple[str, float, float]

SHEAR = 0.0928
"""The shear range in half turns: kornia takes an angle over 180 degrees; the papers' 0.3 is tan(16.7 degrees)."""

COMMON: tuple[Operation, ...] = (
    ("auto_contrast", 0, 1),
    ("equalize", 0, 1),
    ("rotate", -30.0, 30.0),
    ("solarize", 0.0, 1.0),
    ("contrast", 0.1, 1.9),
    ("brightness", 0.1, 1.9),
    ("sharpness", 0.1, 1.9),
    ("shear_x", -SHEAR, SHEAR),
    ("shear_y", -SHEAR, SHEAR),
    ("translate_x", -0.3, 0.3),
    ("translate_y", -0.3, 0.3),
)
COLOUR: Operation = ("color", 0.1, 1.9)
RAND_OPERATIONS = 2
"""Operations per image in RandAugment, as in most publications that use it."""


class Policy(nn.Module):
    """A module that applies `draws` uniformly drawn operations to each image; "leave unchanged" is one more of them.

    kornia's own policies draw one operation for the whole batch, which correlates the images of a batch.

    Args:
        operations: each maps float (N, C, H, W) in 0..1 to the same, with a magnitude for each image.
        draws: number of operations applied to each image, one after the other.
    """

    def __init__(self, operations: list[nn.Module], draws: int) -> None:
        super().__init__()
        self.operations, self.draws = nn.ModuleList(operations), draws

    def forward(self, images: Tensor) -> Tensor:
        """Map float (N, C, H, W) in 0..1 to the same shape; rounding may leave 0..1."""
        for _ in range(self.draws):
            drawn = torch.randint(
                len(self.operations) + 1, (len(images),)
            )  # on the CPU: rows are picked without a sync
            varied = images.clone()
            for number, operation in enumerate(self.operations):
                rows = (drawn == number).nonzero()[:, 0].to(images.device)
                if len(rows):
                    varied[rows] = operation(images[rows])
            images = varied
        return images


def policy_of(space: Training, channels: int) -> Policy:
    """Return the policy of a configuration for images of `channels` channels.

    "trivial" is TrivialAugment (Müller and Hutter, 2021): one operation of random magnitude. "rand" is RandAugment
    (Cubuk et al., 2020): two operations of magnitude `space.magnitude` out of 30.
    """
    operations = (*COMMON, COLOUR) if channels == 3 else COMMON
    if space.policy == "trivial":
        return Policy([TrivialAugment([[operation]]) for operation in (*operations, ("posterize", 2.0, 8.0))], draws=1)
    named = (*operations, ("posterize", 4.0, 8.0))
    return Policy([RandAugment(1, space.magnitude, [[operation]]) for operation in named], RAND_OPERATIONS)
