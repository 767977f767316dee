"""Nearest neighbors on pixels, optionally standardized or reduced by PCA first."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from search_spaces import FIXED, Choice, DataShape, Float, Int, Limits, Space, When


@dataclass(frozen=True, kw_only=True)
class KNN(Space):
    """The space of preprocessing, the number of neighbors and their voting weights.

    `svd_solver` is scikit-learn's. "auto" approximates if there are many pixels; "full" and "covariance_eigh" are
    exact. "covariance_eigh" is much faster if there are more images than pixels.
    """

    deterministic: ClassVar[bool] = True

    scale: Annotated[str, Choice(("none", "standard"))] = "none"
    reduce: Annotated[str, Choice(("none", "pca"))] = "none"
    components: Annotated[int, Int(2, 256, log=True), When("reduce", Choice(("pca",)))] = 64
    svd_solver: Annotated[str, Choice(("auto", "full", "covariance_eigh")), FIXED, When("reduce", Choice(("pca",)))] = (
        "auto"
    )
    neighbors: Annotated[int, Int(1, 64, log=True)] = 5
    weights: Annotated[str, Choice(("uniform", "distance"))] = "distance"
    smoothing: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.1

    @classmethod
    def limits(cls, shape: DataShape) -> Limits:
        """Limit PCA components to the samples and the pixels, and neighbors to the samples."""
        return {"components": min(shape.samples, shape.pixels), "neighbors": shape.samples}
