"""Squared Euclidean distances of two blocks of points, and the walk over blocks that keeps memory bounded."""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2048
"""Points per side of a block: 32 MiB for one float64 matrix of all pairs of two blocks."""

ROUNDING = 1e-12
"""Of the larger squared norm of two points: what rounding can make of a squared distance that is zero, and more."""


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2 for x: [B, d] and y: [C, d], as [B, C]; one matrix product, so use float64."""
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp_(min=0)


def blocks(x: Tensor, size: int, device: torch.device | str = "cpu") -> Iterator[tuple[slice, Tensor]]:
    """(rows, x[rows]) in runs of at most `size` rows, as float64 on the device; x itself stays where it is."""
    for start in range(0, len(x), size):
        rows = slice(start, min(start + size, len(x)))
        yield rows, x[rows].to(device, torch.float64)
