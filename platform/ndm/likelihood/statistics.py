"""What a set of per-image likelihoods says: means with standard errors, and paired comparisons."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ndm.randomness import Stream

MOST = 2**20
"""Values that the bootstrap draws at once."""


class Mean(NamedTuple):
    """A mean and its standard error."""

    value: float
    error: float


class Interval(NamedTuple):
    """An interval that holds the true mean with a given probability."""

    low: float
    high: float


def bits_per_dim(nats: Tensor, dimensions: int) -> Tensor:
    """Nats per example -> bits per dimension, nats / (D ln 2)."""
    return nats / (dimensions * math.log(2))


def mean(values: Tensor) -> Mean:
    """Mean of independent values, shape [N], and its standard error s / sqrt(N) with the unbiased s."""
    values = values.double()
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(values.mean().item(), error)


def bootstrap(values: Tensor, *, seed: int, level: float = 0.95, resamples: int = 2000) -> Interval:
    """Percentile interval of the mean of independent values, shape [N], from means of N values drawn with replacement.

    Efron, Bootstrap Methods: Another Look at the Jackknife (1979). Unlike the standard error it need not be symmetric.
    """
    n, stream = len(values), Stream(seed, "bootstrap")
    values, together = values.double().cpu(), max(1, MOST // max(n, 1))
    means = torch.cat(
        [
            values[(stream.uniform(i, min(together, resamples - i), (n,)) * n).long().clamp(max=n - 1)].mean(dim=1)
            for i in range(0, resamples, together)
        ]
    )
    return Interval(*(float(torch.quantile(means, (1 + side * level) / 2)) for side in (-1, 1)))


def paired(first: Tensor, second: Tensor) -> Mean:
    """Mean of first - second over the same images, with the standard error of the differences.

    The images' own spread cancels; with common random numbers most of the estimator's noise does too.
    """
    if first.shape != second.shape:
        raise ValueError(f"paired values must be of the same images: {len(first)} against {len(second)}")
    return mean(first.double() - second.double())
