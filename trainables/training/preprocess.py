"""The first layer of every model: raw pixels in, normalized pixels out."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces import DataShape
from search_spaces.shared.training import Training
from trainables.data import Split

FIXED_STATISTICS = {"imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), "half": ((0.5,), (0.5,))}
"""Fixed means and standard deviations, for one channel or for three."""

MEASURED = 4096
"""Number of images that mean and standard deviation are measured on; more change the third digit at most."""


class Preprocess(nn.Module):
    """A layer that resizes to the size of the stored images, cuts out a window, and normalizes each channel.

    It is part of the model, so that training, testing and an exported file cannot prepare images differently. Mean and
    standard deviation are buffers: they are saved and loaded with the weights.

    Args:
        shape: sizes of the stored images.
        size: height and width in pixels of the window, no larger than the stored images (default: all). In training
            mode the window is at random, one for each image; in evaluation mode it is the center.
        normalize: "measured": by mean and standard deviation of the train split; "imagenet": by those of ImageNet, for
            gray images by their mean over the channels; "half": by 0.5 and 0.5, to -1..1.

    Attributes:
        output: `shape` with the height and width of the output, for the layers that follow.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: DataShape, size: tuple[int, int] | None = None, normalize: str = "measured") -> None:
        super().__init__()
        self.stored = (shape.height, shape.width)
        height, width = size or self.stored
        self.output = replace(shape, height=height, width=width)
        self.measured = normalize == "measured"
        for name, values in zip(("mean", "std"), FIXED_STATISTICS.get(normalize, ((0.0,), (1.0,))), strict=True):
            figures = torch.tensor(values)
            figures = figures if len(figures) == shape.channels else figures.mean().expand(shape.channels)
            self.register_buffer(name, figures.clone().view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (N, C, H, W), or float in the same 0..255 after augmentation, to float (N, C, h, w)."""
        return (self.cut(images).float() / 255 - self.mean) / self.std

    def cut(self, images: Tensor) -> Tensor:
        """Cut out the window that the network sees: images (N, C, H, W) of any size to (N, C, h, w)."""
        if tuple(images.shape[-2:]) != self.stored:
            images = F.interpolate(images.float(), self.stored, mode="bilinear", antialias=True)
        height, width = self.output.height, self.output.width
        if (height, width) == self.stored:
            return images
        if self.training:
            return random_windows(images, height, width)
        top, left = (self.stored[0] - height) // 2, (self.stored[1] - width) // 2
        return images[:, :, top : top + height, left : left + width]

    @torch.no_grad()
    def measure(self, train: Split) -> None:
        """Set mean and standard deviation to those of the train split, unless they are fixed."""
        if not self.measured:
            return
        spread = torch.linspace(0, len(train) - 1, min(MEASURED, len(train))).long()
        images, _ = train.batch(spread)
        std, mean = torch.std_mean(images.float() / 255, dim=(0, 2, 3), keepdim=True)
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-3))


def preprocess_of(space: Training, shape: DataShape, multiple: int = 1) -> Preprocess:
    """Return the first layer of a configuration; its output sides are multiples of `multiple`."""
    return Preprocess(shape, window_of(space, shape, multiple), space.normalize)


def window_of(space: Training, shape: DataShape, multiple: int = 1) -> tuple[int, int]:
    """Return height and width of the window of a stored image that the network sees."""

    def seen(side: int) -> int:
        return max(1, round(side * space.window) // multiple) * multiple

    return seen(shape.height), seen(shape.width)


def random_windows(images: Tensor, height: int, width: int) -> Tensor:
    """Cut a window out of each image (N, C, H, W) at a uniformly drawn place: (N, C, height, width)."""
    count, device = len(images), images.device
    tops = torch.randint(images.shape[2] - height + 1, (count, 1, 1), device=device)
    lefts = torch.randint(images.shape[3] - width + 1, (count, 1, 1), device=device)
    rows = tops + torch.arange(height, device=device)[:, None]
    columns = lefts + torch.arange(width, device=device)
    numbers = torch.arange(count, device=device)[:, None, None]
    return images[numbers, :, rows, columns].permute(0, 3, 1, 2)
