"""Mixup and CutMix: each image of a batch is mixed with another, and its label with the other's label."""

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.shared.training import Training


def mix(images: Tensor, labels: Tensor, space: Training, classes: int) -> tuple[Tensor, Tensor]:
    """Mix a batch as the configuration says, with a separate share for each image.

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
    """Average images and others, with weights from Beta(alpha, alpha) (Zhang et al., 2018).

    Returns:
        The means, float (N, C, H, W), and the share (N,) of the original image in each.
    """
    concentration = torch.tensor(alpha, device=images.device)
    share = torch.distributions.Beta(concentration, concentration).sample((len(images),))
    weight = share[:, None, None, None]
    return weight * images + (1 - weight) * others, share


def cutmix(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Paste a box of another image into each, with area and center drawn uniformly (Yun et al., 2019).

    Returns:
        The images, float (N, C, H, W), and the share (N,) of original pixels in each. Boxes are cut off at the border,
        so the share counts only the part inside.
    """
    count, _, height, width = images.shape
    side, centre_y, centre_x = torch.rand(3, count, 1, device=images.device)
    half = (1 - side).sqrt() / 2
    rows = (torch.arange(height, device=images.device) + 0.5) / height
    columns = (torch.arange(width, device=images.device) + 0.5) / width
    box = ((rows - centre_y).abs() < half)[:, :, None] & ((columns - centre_x).abs() < half)[:, None, :]
    return torch.where(box[:, None], others, images), 1 - box.float().mean((1, 2))
