"""KID: the unbiased MMD^2 of features with the kernel (<x, y>/d + 1)^3, averaged over subsets.

Binkowski et al., Demystifying MMD GANs (arXiv 1801.01401). The subsets here are disjoint, so that they are independent
and their spread over the square root of their number is an honest standard error. Subsets drawn with overlap, as
other implementations draw them, estimate the same number: it is unbiased for subsets of any size.
"""

import torch
from torch import Tensor

from ndm.likelihood.statistics import Mean, mean
from ndm.quality.mmd import mmd_squared
from ndm.quality.subsets import shuffled

LARGEST = 1000
FEWEST = 10
"""Subsets are of at most LARGEST images, and there are at least FEWEST of them."""


def cubic(x: Tensor, y: Tensor) -> Tensor:
    """(<x_i, y_j>/d + 1)^3 for x: [B, d] and y: [C, d], as [B, C]."""
    return (x @ y.T / x.shape[1] + 1).pow(3)


def kernel_distance(f: Tensor, g: Tensor, *, seed: int, device: torch.device | str = "cpu") -> Mean:
    """KID of features f: [N, d] and g: [M, d], at least 30 of each, and its standard error over the subsets."""
    fewer = min(len(f), len(g))
    size = min(LARGEST, fewer // FEWEST)
    of_f, of_g = (shuffled(len(part), seed, name) for part, name in ((f, "kid/samples"), (g, "kid/reference")))
    starts = range(0, fewer - size + 1, size)
    values = [
        mmd_squared(f[of_f[start : start + size]], g[of_g[start : start + size]], cubic, device=device).value
        for start in starts
    ]
    return mean(torch.tensor(values, dtype=torch.float64))
