"""Squared Fréchet distance of two Gaussians: |m - n|^2 + tr(S + R - 2 (S^1/2 R S^1/2)^1/2).

Heusel et al., GANs Trained by a Two Time-Scale Update Rule (arXiv 1706.08500), where the Gaussians are fitted to
Inception features. The trace of the root is the sum of the singular values of S^1/2 R^1/2: no digits lost to squaring.

It is biased upwards by finite samples, the more the fewer they are and the more features there are: compare only
numbers with the same counts. The standard error is the jackknife's over ten interleaved groups of each sample.
"""

import math
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ndm.likelihood.statistics import Mean
from ndm.quality.distances import BLOCK, blocks
from ndm.quality.moments import Moments, moments

GROUPS = 10


class Gaussian(NamedTuple):
    """Mean [d] and the symmetric root of the covariance [d, d]."""

    mean: Tensor
    root: Tensor


def gaussian(fitted: Moments) -> Gaussian:
    """The Gaussian with these moments. Eigenvalues that rounding made negative, or could have, count as zero."""
    values, vectors = torch.linalg.eigh(fitted.covariance)
    rounding = len(values) * torch.finfo(values.dtype).eps * values[-1]
    values = torch.where(values > rounding, values, 0)
    return Gaussian(fitted.mean, (vectors * values.sqrt()) @ vectors.T)


def distance_squared(p: Gaussian, q: Gaussian) -> float:
    """The squared Fréchet distance, never below zero."""
    overlap = torch.linalg.svdvals(p.root @ q.root).sum()
    square = (p.mean - q.mean).square().sum() + p.root.square().sum() + q.root.square().sum() - 2 * overlap
    return max(square.item(), 0.0)


def frechet(f: Tensor, g: Tensor, *, device: torch.device | str = "cpu") -> Mean:
    """Squared Fréchet distance of features f: [N, d] and g: [M, d], at least 20 of each, and its standard error.

    On the device lie ten matrices d x d per sample and one block of features.
    """
    groups_f, groups_g = grouped(f, device), grouped(g, device)
    p, q = (gaussian(reduce(Moments.merge, groups)) for groups in (groups_f, groups_g))
    without_f = torch.tensor([distance_squared(rest, q) for rest in leave_one_out(groups_f)], dtype=torch.float64)
    without_g = torch.tensor([distance_squared(p, rest) for rest in leave_one_out(groups_g)], dtype=torch.float64)
    variance = sum((GROUPS - 1) * part.var(correction=0).item() for part in (without_f, without_g))
    return Mean(distance_squared(p, q), math.sqrt(variance))


def grouped(f: Tensor, device: torch.device | str) -> list[Moments]:
    """The moments of every tenth row from the first, from the second, ..."""
    return [moments(block for _, block in blocks(f[i::GROUPS], BLOCK, device)) for i in range(GROUPS)]


def leave_one_out(groups: list[Moments]) -> list[Gaussian]:
    """The Gaussian of all groups but one, for each."""
    return [gaussian(reduce(Moments.merge, groups[:i] + groups[i + 1 :])) for i in range(len(groups))]
