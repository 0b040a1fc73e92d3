"""Sliced 2-Wasserstein distance: SW_2^2 = E over directions theta on the sphere of W_2^2(<theta, X>, <theta, Y>).

Bonneel et al., Sliced and Radon Wasserstein Barycenters of Measures (J. Math. Imaging Vis. 2015). On a line W_2^2 is
the integral over u in (0, 1) of (F^-1(u) - G^-1(u))^2, taken exactly for two samples of any sizes.

It is biased upwards: two finite samples of one distribution are not at distance zero. `floor` says where that noise
lies. The standard error is that of the finite number of directions alone, given the two samples.
"""

import math

import torch
from torch import Tensor

from ndm.likelihood.statistics import Mean, mean
from ndm.quality.distances import BLOCK, blocks
from ndm.quality.subsets import shuffled
from ndm.randomness import Stream

DIRECTIONS = 512
CHUNK = 64
"""Directions at a time: memory is that of CHUNK numbers per image, some ten times over."""


def sliced_wasserstein(
    x: Tensor, y: Tensor, *, seed: int, directions: int = DIRECTIONS, device: torch.device | str = "cpu"
) -> Mean:
    """SW_2 between samples x: [N, *shape] and y: [M, *shape], and its standard error over directions (delta method)."""
    x, y = x.flatten(1), y.flatten(1)
    squares: list[Tensor] = []
    for first in range(0, directions, CHUNK):
        theta = unit_vectors(first, min(CHUNK, directions - first), x.shape[1], seed).to(device)
        squares.append(wasserstein_squared(project(x, theta), project(y, theta)))
    square = mean(torch.cat(squares))
    value = math.sqrt(square.value)
    return Mean(value, square.error / (2 * value) if value > 0 else 0.0)


def floor(x: Tensor, y: Tensor, *, seed: int, device: torch.device | str = "cpu") -> Mean:
    """The SW_2 to expect between samples of the sizes of x and y, were both drawn from the law of the reference y.

    It is the distance of two random halves of y. The square of such noise falls like 1/N + 1/M, which scales it
    from the halves' sizes to those of x and y.
    """
    order, half = shuffled(len(y), seed, "halves"), len(y) // 2
    halves = sliced_wasserstein(y[order[:half]], y[order[half:]], seed=seed, device=device)
    factor = math.sqrt((1 / len(x) + 1 / len(y)) / (1 / half + 1 / (len(y) - half)))
    return Mean(factor * halves.value, factor * halves.error)


def unit_vectors(first: int, count: int, dimensions: int, seed: int) -> Tensor:
    """Directions first .. first + count - 1 of the seed, uniform on the sphere: float64 [count, dimensions]."""
    vectors = Stream(seed, "sliced_wasserstein").normal(first, count, (dimensions,), torch.float64)
    return vectors / vectors.square().sum(1, keepdim=True).sqrt()


def project(x: Tensor, theta: Tensor) -> Tensor:
    """<theta_k, x_i> for x: [N, D] and theta: [K, D], as [K, N] on theta's device."""
    return torch.cat([theta @ block.T for _, block in blocks(x, BLOCK, theta.device)], dim=1)


def wasserstein_squared(a: Tensor, b: Tensor) -> Tensor:
    """W_2^2 on the line between the samples in each row of a: [K, N] and b: [K, M], as [K]."""
    n, m = a.shape[1], b.shape[1]
    # Both quantile functions are constant between these levels, counted in units of 1 / (N M) so that they are exact.
    steps = [torch.arange(1, count + 1, device=a.device) * unit for count, unit in ((n, m), (m, n))]
    levels = torch.cat(steps).sort().values
    width = torch.diff(levels, prepend=torch.zeros_like(levels[:1]))
    levels, width = levels[width > 0], width[width > 0].to(a.dtype) / (n * m)
    gap = a.sort(dim=1).values[:, (levels - 1) // m] - b.sort(dim=1).values[:, (levels - 1) // n]
    return gap.square() @ width
