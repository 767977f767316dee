"""Nearest neighbours on pixels, standardised or reduced by PCA first."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from search_spaces import FIXED, Choice, DataShape, Float, Int, Limits, Space, When


@dataclass(frozen=True, kw_only=True)
class KNN(Space):
    """What may vary: preprocessing, the number of neighbours and how they vote.

    `svd_solver` is scikit-learn's: auto approximates where there are many pixels, full and covariance_eigh are exact,
    the latter much sooner where there are more images than pixels.
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
        """PCA finds no more components than samples or pixels; there are no more neighbours than samples."""
        return {"components": min(shape.samples, shape.pixels), "neighbors": shape.samples}
