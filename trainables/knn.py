"""Nearest neighbors on pixels: fitted by scikit-learn, voting in torch, so that they run wherever networks run."""

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from search_spaces import DataShape
from search_spaces.knn import KNN
from trainables.data import TrainData
from trainables.training import Epoch, Metrics, State

EXACT_BYTES = 64 * 2**20
"""Limit on the memory for differences between images and their neighbors."""


class Neighbors(nn.Module):
    """A classifier that returns the votes of the nearest training images as logits.

    Votes are smoothed by `smoothing`, spread over the classes. So a class without a vote keeps a finite log-loss, and
    the order of the classes remains that of the votes.
    """

    mean: Tensor
    scale: Tensor
    center: Tensor
    components: Tensor
    points: Tensor
    classes: Tensor

    def __init__(self, space: KNN, shape: DataShape) -> None:
        super().__init__()
        self.space, self.shape = space, shape
        pixels = shape.pixels
        features = space.components if space.reduce == "pca" else pixels
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("scale", torch.ones(pixels))
        if space.reduce == "pca":
            self.register_buffer("center", torch.zeros(pixels))
            self.register_buffer("components", torch.zeros(features, pixels))
        self.register_buffer("points", torch.zeros(shape.samples, features))
        self.register_buffer("classes", torch.zeros(shape.samples, dtype=torch.long))

    def features(self, images: Tensor) -> Tensor:
        """Map uint8 (N, C, H, W) to float (N, features), standardized and projected as scikit-learn fitted it."""
        flat = (images.flatten(1).float() / 255 - self.mean) / self.scale
        return (flat - self.center) @ self.components.T if self.space.reduce == "pca" else flat

    @torch.no_grad()
    def fit(self, data: TrainData) -> None:
        """Store the training images as points."""
        images, labels = data.train.arrays()
        steps: list[tuple[str, Any]] = []
        if self.space.scale == "standard":
            steps.append(("scale", StandardScaler()))
        if self.space.reduce == "pca":
            steps.append(("reduce", PCA(self.space.components, svd_solver=self.space.svd_solver, random_state=0)))
        if steps:
            fitted = Pipeline(steps).fit(images.reshape(len(images), -1).astype(np.float32) / 255).named_steps
            if "scale" in fitted:
                self.mean.copy_(torch.from_numpy(fitted["scale"].mean_))
                self.scale.copy_(torch.from_numpy(fitted["scale"].scale_))
            if "reduce" in fitted:
                self.center.copy_(torch.from_numpy(fitted["reduce"].mean_))
                self.components.copy_(torch.from_numpy(fitted["reduce"].components_))
        self.points.copy_(torch.cat([self.features(images.cpu()) for images, _ in data.train.batches(1024)]))
        self.classes.copy_(torch.from_numpy(labels))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (N, C, H, W) to log-probabilities (N, classes)."""
        queries = self.features(images)
        nearest = torch.cdist(queries, self.points).topk(self.space.neighbors, largest=False).indices
        # cdist multiplies matrices and is coarse near zero, where weights are largest; so distances are computed again,
        # exactly
        at_once = max(1, EXACT_BYTES // (4 * self.space.neighbors * queries.shape[1]))
        blocks = zip(queries.split(at_once), nearest.split(at_once), strict=True)  # type: ignore[no-untyped-call]
        distances = torch.cat([(query[:, None] - self.points[near]).norm(dim=2) for query, near in blocks])
        if self.space.weights == "distance":
            exact = distances == 0  # an identical image outvotes all others
            weights = torch.where(exact.any(1, keepdim=True), exact.float(), 1 / distances.clamp_min(1e-12))
        else:
            weights = torch.ones_like(distances)
        votes = torch.zeros(len(images), self.shape.classes, device=queries.device)
        votes.scatter_add_(1, self.classes[nearest], weights)
        votes = votes / votes.sum(1, keepdim=True)
        smoothing = self.space.smoothing
        return ((votes + smoothing / self.shape.classes) / (1 + smoothing)).log()


def build(space: KNN, shape: DataShape) -> nn.Module:
    """Build the classifier without its points."""
    return Neighbors(space, shape)


def train(space: KNN, data: TrainData, *, epochs: int, state: State | None = None) -> Generator[Epoch, Metrics, None]:
    """Fit once and yield once; there is no state to continue from."""
    model = Neighbors(space, data.shape)
    model.fit(data)
    yield Epoch(model=model.to(data.device), last=True)
