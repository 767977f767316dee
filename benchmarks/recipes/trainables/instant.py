"""A recipe for benchmarks: class means, spoilt by noise that follows from the configuration."""

from collections.abc import Generator

import torch
from torch import Tensor, nn

from search_spaces import DataShape
from search_spaces.instant import Instant, distance  # type: ignore[import-not-found]
from trainables.data import TrainData
from trainables.training import Epoch, Metrics, State


class ClassMeans(nn.Module):
    """The class whose mean image is closest."""

    def __init__(self, shape: DataShape) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.zeros(shape.classes, shape.pixels))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of uint8 images (N, C, H, W)."""
        return -torch.cdist(images.flatten(1) / 255, self.means)


def build(space: Instant, shape: DataShape) -> nn.Module:
    """The model, with means of zero."""
    return ClassMeans(shape)


def train(
    space: Instant, data: TrainData, *, epochs: int, state: State | None = None
) -> Generator[Epoch, Metrics, None]:
    """Noise halves, thirds and so on with the epochs."""
    images, labels = next(data.train.batches(len(data.train)))
    means = torch.stack([images[labels == c].flatten(1).float().mean(0) / 255 for c in range(len(data.classes))])
    model = ClassMeans(data.shape)
    for epoch in range(state["epoch"] + 1 if state else 1, epochs + 1):
        noise = torch.randn_like(means) * distance(space.x, space.y, space.n, space.kind) / epoch
        model.means.data.copy_(means + noise)
        yield Epoch(model=model, last=epoch == epochs, state=lambda val, epoch=epoch: {"epoch": epoch})
