"""The first layer of every model: raw pixels in, normalised pixels out."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces import DataShape
from trainables._data import Split

MEASURED = 4096
"""Images from which mean and standard deviation are taken; more change the third digit at most."""


class Preprocess(nn.Module):
    """Resizes to the size that the network is made for and normalises each channel.

    It lives inside the model, so that training, testing and an exported file cannot prepare images differently.
    Mean and standard deviation are buffers: they are saved and loaded with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: DataShape) -> None:
        super().__init__()
        self.size = (shape.height, shape.width)
        self.register_buffer("mean", torch.zeros(1, shape.channels, 1, 1))
        self.register_buffer("std", torch.ones(1, shape.channels, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 (N, C, H, W), or float in the same 0..255 as augmentation leaves it, to float (N, C, h, w)."""
        pixels = images.float() / 255
        if tuple(pixels.shape[-2:]) != self.size:
            pixels = F.interpolate(pixels, self.size, mode="bilinear", antialias=True)
        return (pixels - self.mean) / self.std

    @torch.no_grad()
    def measure(self, train: Split) -> None:
        """Set mean and standard deviation to those of the train split."""
        spread = torch.linspace(0, len(train) - 1, min(MEASURED, len(train))).long()
        images, _ = train.batch(spread)
        std, mean = torch.std_mean(images.float() / 255, dim=(0, 2, 3), keepdim=True)
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-3))
