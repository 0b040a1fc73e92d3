"""Squared maximum mean discrepancy, MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y), by its unbiased estimate.

Gretton et al., A Kernel Two-Sample Test (JMLR 2012). Zero only for equal distributions with the Gaussian kernels here.
The estimate is unbiased, so it falls below zero about half the time when the distributions are equal.

The standard error is the jackknife's, over both samples. It is never too small on average; where the distributions
are equal it is up to sqrt(2) too large.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ndm.errors import UserError
from ndm.likelihood.statistics import Mean
from ndm.quality.distances import BLOCK, ROUNDING, blocks, squared_distances
from ndm.quality.subsets import subset

Kernel = Callable[[Tensor, Tensor], Tensor]
"""k(x_i, y_j) for x: [B, d] and y: [C, d], as [B, C]."""

SCALES = (0.25, 1.0, 4.0)
MEDIAN_OF = 1000
"""Points of the reference whose pairwise distances give the bandwidth."""


class Gaussian(NamedTuple):
    """k(x, y) = mean over v of exp(-|x - y|^2 / (2 v))."""

    variances: tuple[float, ...]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        distances = squared_distances(x, y)
        total = torch.zeros_like(distances)
        for v in self.variances:
            total += torch.exp(distances / (-2 * v))
        return total / len(self.variances)


def gaussian_of(reference: Tensor, *, seed: int) -> Gaussian:
    """The kernel that a reference [M, *shape] fixes: v is 1/4, 1 and 4 times its median non-zero squared distance.

    Raises:
        UserError: every point of the reference is the same.
    """
    points = subset(reference.flatten(1), MEDIAN_OF, seed, "bandwidth").double()
    distances = squared_distances(points, points)
    apart = distances[distances > ROUNDING * points.square().sum(1).max()]
    if apart.numel() == 0:
        raise UserError("Every image of the reference is the same, so it fixes no bandwidth; use another reference.")
    median = apart.median().item()
    return Gaussian(tuple(scale * median for scale in SCALES))


def mmd_squared(
    x: Tensor, y: Tensor, kernel: Kernel, *, device: torch.device | str = "cpu", block: int = BLOCK
) -> Mean:
    """Unbiased MMD^2 of samples x: [N, *shape] and y: [M, *shape], N and M at least 3, and its standard error.

    Memory is that of a few matrices of block x block float64.
    """
    x, y = x.flatten(1), y.flatten(1)
    n, m = len(x), len(y)
    assert min(n, m) >= 3
    within_x, within_y = within(x, kernel, device, block), within(y, kernel, device, block)
    across_x, across_y = across(x, y, kernel, device, block)

    def estimate(xx: Tensor, yy: Tensor, xy: Tensor, n: int, m: int) -> Tensor:
        return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)

    xx, yy, xy = within_x.sum(), within_y.sum(), across_x.sum()
    without_x = estimate(xx - 2 * within_x, yy, xy - across_x, n - 1, m)
    without_y = estimate(xx, yy - 2 * within_y, xy - across_y, n, m - 1)
    variance = sum((len(w) - 1) * w.var(correction=0).item() for w in (without_x, without_y))
    return Mean(estimate(xx, yy, xy, n, m).item(), math.sqrt(variance))


def within(x: Tensor, kernel: Kernel, device: torch.device | str, block: int) -> Tensor:
    """sum over j != i of k(x_i, x_j), as [N]; every pair is taken once, for k is symmetric."""
    sums = torch.zeros(len(x), dtype=torch.float64, device=device)
    for rows, a in blocks(x, block, device):
        sums[rows] += kernel(a, a).fill_diagonal_(0).sum(1)
        for later, b in blocks(x[rows.stop :], block, device):
            k = kernel(a, b)
            sums[rows] += k.sum(1)
            sums[rows.stop + later.start : rows.stop + later.stop] += k.sum(0)
    return sums


def across(x: Tensor, y: Tensor, kernel: Kernel, device: torch.device | str, block: int) -> tuple[Tensor, Tensor]:
    """(sum over j of k(x_i, y_j) as [N], sum over i of it as [M])."""
    of_x, of_y = (torch.zeros(len(points), dtype=torch.float64, device=device) for points in (x, y))
    for rows, a in blocks(x, block, device):
        for columns, b in blocks(y, block, device):
            k = kernel(a, b)
            of_x[rows] += k.sum(1)
            of_y[columns] += k.sum(0)
    return of_x, of_y
