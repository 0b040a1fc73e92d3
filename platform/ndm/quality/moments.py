"""Mean and covariance of features that pass by in batches, in float64.

Chan, Golub, LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances (1979):
two sets' sums of squares about their own means combine without the cancellation of E x^2 - (E x)^2.
"""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Of a set of points in d dimensions."""

    size: int
    mean: Tensor
    """[d]"""
    scatter: Tensor
    """sum of (x - mean)(x - mean)^T: [d, d]"""

    @property
    def covariance(self) -> Tensor:
        """Unbiased, with N - 1: [d, d]."""
        return self.scatter / (self.size - 1)

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both sets together."""
        size = self.size + other.size
        shift = other.mean - self.mean
        between = torch.outer(shift, shift) * (self.size * other.size / size)
        return Moments(size, self.mean + shift * (other.size / size), self.scatter + other.scatter + between)


def of_batch(x: Tensor) -> Moments:
    """The moments of one batch [B, d]."""
    x = x.double()
    mean = x.mean(0)
    centred = x - mean
    return Moments(len(x), mean, centred.T @ centred)


def moments(batches: Iterable[Tensor]) -> Moments:
    """The moments of all batches [B, d] together, one in memory at a time."""
    return reduce(Moments.merge, map(of_batch, batches))
