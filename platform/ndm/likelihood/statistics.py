"""What a set of per-image likelihoods says: means with standard errors, and paired comparisons."""

import math
from typing import NamedTuple

from torch import Tensor


class Mean(NamedTuple):
    """A mean and its standard error."""

    value: float
    error: float


def bits_per_dim(nats: Tensor, dimensions: int) -> Tensor:
    """Nats per example -> bits per dimension, nats / (D ln 2)."""
    return nats / (dimensions * math.log(2))


def mean(values: Tensor) -> Mean:
    """Mean of independent values, shape [N], and its standard error s / sqrt(N) with the unbiased s."""
    values = values.double()
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(values.mean().item(), error)


def paired(first: Tensor, second: Tensor) -> Mean:
    """Mean of first - second over the same images, with the standard error of the differences.

    The images' own spread cancels; with common random numbers most of the estimator's noise does too.
    """
    if first.shape != second.shape:
        raise ValueError(f"paired values must be of the same images: {len(first)} against {len(second)}")
    return mean(first.double() - second.double())
