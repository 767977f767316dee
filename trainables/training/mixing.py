"""Mixup and CutMix: each image of a batch mixed with another, and its label with the other's."""

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.shared.training import Training


def mix(images: Tensor, labels: Tensor, space: Training, classes: int) -> tuple[Tensor, Tensor]:
    """Mix a batch as the configuration says, with a share of its own for each image.

    Args:
        images: float (N, C, H, W).
        labels: int64 (N,).
        space: its `mix` is mixup or cutmix.
        classes: number of classes.

    Returns:
        Images of the same shape, and targets float (N, classes) that sum to 1 for each image.
    """
    others = torch.randperm(len(images), device=images.device)
    if space.mix == "mixup":
        mixed, share = mixup(images, images[others], space.mixup_alpha)
    else:
        mixed, share = cutmix(images, images[others])
    own, other = F.one_hot(labels, classes), F.one_hot(labels[others], classes)
    return mixed, share[:, None] * own + (1 - share[:, None]) * other


def mixup(images: Tensor, others: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Weighted means of images and others, the weight from Beta(alpha, alpha) (Zhang et al., 2018).

    Returns:
        The means, float (N, C, H, W), and the share (N,) that each image has in its own.
    """
    concentration = torch.tensor(alpha, device=images.device)
    share = torch.distributions.Beta(concentration, concentration).sample((len(images),))
    weight = share[:, None, None, None]
    return weight * images + (1 - weight) * others, share


def cutmix(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Images with a box of another in them, of an evenly drawn area and centre (Yun et al., 2019).

    Returns:
        The images, float (N, C, H, W), and the share (N,) of its own pixels that each has: of what lies inside, as
        boxes are cut off at the border.
    """
    count, _, height, width = images.shape
    side, centre_y, centre_x = torch.rand(3, count, 1, device=images.device)
    half = (1 - side).sqrt() / 2
    rows = (torch.arange(height, device=images.device) + 0.5) / height
    columns = (torch.arange(width, device=images.device) + 0.5) / width
    box = ((rows - centre_y).abs() < half)[:, :, None] & ((columns - centre_x).abs() < half)[:, None, :]
    return torch.where(box[:, None], others, images), 1 - box.float().mean((1, 2))
