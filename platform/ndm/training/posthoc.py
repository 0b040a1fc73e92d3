"""An average of the weights of any relative width, put together after the training from averages that were kept.

Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models (arXiv 2312.02696), section 3.2: the
kept averages have known profiles over the training's time, so a sum of them has that sum of profiles, and least squares
make it the wanted profile. All of it is in float64.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

SINGULAR = 1e-12
"""Singular values below this part of the largest are taken for zero: kept averages can be nearly dependent."""


class Profile(NamedTuple):
    """The density (gamma + 1) t^gamma / end^(gamma + 1) on 0 < t <= end.

    An average that moves by 1 - (1 - 1/n)^(gamma + 1) in step n weighs step n by the integral over n - 1 < t <= n of
    it, so with weights that are constant in each step nothing here is approximate.
    """

    end: float
    """When the average was kept, in any unit of time."""
    gamma: float


class Fit(NamedTuple):
    """A sum of profiles in the place of another one."""

    coefficients: Tensor
    """One for each profile, float64, with the sum one."""
    error: float
    """The norm of what the wanted profile is missed by, over its own norm."""


def product(a: Profile, b: Profile) -> float:
    """The integral of the product of two densities (appendix C.3 of the paper), per unit of time."""
    if a.end > b.end:
        a, b = b, a
    overlap = (a.end / b.end) ** b.gamma / b.end
    return (a.gamma + 1) * (b.gamma + 1) / (a.gamma + b.gamma + 1) * overlap


def fit(kept: Sequence[Profile], wanted: Profile) -> Fit:
    """The sum of the kept profiles that is nearest to the wanted one in the mean square over time.

    The coefficients are held to the sum one, so that what all averages agree on stays as it is, to rounding.
    """
    assert kept
    # Each profile over its own norm: late and narrow ones would outweigh the others in what is taken for zero.
    norm = torch.tensor([sqrt(product(p, p)) for p in kept], dtype=torch.float64)
    own = sqrt(product(wanted, wanted))
    gram = torch.tensor([[product(a, b) for b in kept] for a in kept], dtype=torch.float64) / torch.outer(norm, norm)
    target = torch.tensor([product(a, wanted) for a in kept], dtype=torch.float64) / (norm * own)
    # In units of the norms the coefficients y fulfil y . sums = 1: moved from one such y only within the rest of space.
    sums = own / norm
    start = sums / sums.square().sum()
    within = torch.eye(len(kept), dtype=torch.float64) - torch.outer(sums, start)
    inverse = torch.pinverse(within @ gram @ within, SINGULAR)
    y = start + within @ inverse @ within @ (target - gram @ start)
    missed = y @ gram @ y - 2 * target @ y + 1
    return Fit(y * sums, sqrt(max(float(missed), 0.0)))


def combine(averages: Iterable[Mapping[str, Tensor]], coefficients: Tensor) -> dict[str, Tensor]:
    """The sum of name -> average, one mapping at a time, with the coefficients of a `Fit`: float64."""
    total: dict[str, Tensor] = {}
    for average, coefficient in zip(averages, coefficients, strict=True):
        for name, value in average.items():
            term = float(coefficient) * value.to(torch.float64)
            total[name] = total[name] + term if name in total else term
    return total
