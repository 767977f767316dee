"""Small copies of images for reports."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from trainables.data import Split

MAX_SIDE = 96
"""The largest side of a thumbnail, in pixels."""


def thumbnails(split: Split, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the images at these positions, uint8 (N, C, H, W), no larger than MAX_SIDE."""
    images = split.batch(torch.from_numpy(positions))[0].cpu()
    if max(images.shape[-2:]) > MAX_SIDE:
        small = F.interpolate(images.float(), size=(MAX_SIDE, MAX_SIDE), mode="bilinear", antialias=True)
        images = small.round().clamp(0, 255).to(torch.uint8)
    return images.numpy()
