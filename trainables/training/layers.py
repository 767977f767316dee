"""Layers that several networks share."""

import torch
from torch import Tensor, nn


class GridPool(nn.Module):
    """Adaptive average pooling to at most `grid` cells per side, with the bins of `torch.nn.AdaptiveAvgPool2d`.

    It multiplies by two constant matrices, because torch's own layer is not deterministic on CUDA and exports to ONNX
    only if the grid divides the image. A smaller image keeps its size, as repeating cells gains nothing.

    Attributes:
        cells: number of output cells per channel.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, height: int, width: int, grid: int) -> None:
        super().__init__()
        self.register_buffer("rows", bins(height, min(grid, height)), persistent=False)
        self.register_buffer("columns", bins(width, min(grid, width)), persistent=False)
        self.cells = min(grid, height) * min(grid, width)

    def forward(self, images: Tensor) -> Tensor:
        """Map float (N, C, H, W) to (N, C, rows, columns)."""
        pooled: Tensor = self.rows @ images @ self.columns.T
        return pooled


def bins(size: int, cells: int) -> Tensor:
    """Return the matrix (cells, size) that averages pixels i * size // cells up to ceil((i + 1) * size / cells)."""
    matrix = torch.zeros(cells, size)
    for cell in range(cells):
        begin, end = cell * size // cells, -(-(cell + 1) * size // cells)
        matrix[cell, begin:end] = 1 / (end - begin)
    return matrix
