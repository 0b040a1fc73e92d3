"""Squared Fréchet distance of two Gaussians: |m - n|^2 + tr S + tr R - 2 tr (S^1/2 R S^1/2)^1/2.

Heusel et al., GANs Trained by a Two Time-Scale Update Rule (arXiv 1706.08500), where the Gaussians are fitted to
Inception features. The trace of the root is the sum of the singular values of S^1/2 R^1/2.

It is biased upwards by finite samples, the more the fewer they are and the more features there are: compare only
numbers with the same counts. The standard error is that of the first order in the samples (the delta method): x moves
the distance by 2 <m - n, x - m> + (x - m)^T (1 - T)(x - m) over N, with T = S^-1/2 (S^1/2 R S^1/2)^1/2 S^-1/2 the
optimal transport map. It says nothing of the bias; with few images per feature it is too large rather than too small.
"""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ndm.likelihood.statistics import Mean, mean
from ndm.quality.distances import BLOCK, blocks
from ndm.quality.moments import Moments, moments


class Gaussian(NamedTuple):
    """Mean [d], the symmetric root of the covariance and the root's pseudo-inverse [d, d]."""

    mean: Tensor
    root: Tensor
    inverse_root: Tensor


class Frechet(NamedTuple):
    """The squared distance, and the transport maps of either Gaussian to the other [d, d]."""

    value: float
    forth: Tensor
    back: Tensor


def gaussian(fitted: Moments) -> Gaussian:
    """The Gaussian with these moments; directions without variance have none in the pseudo-inverse either."""
    values, vectors = eigenvectors(fitted.covariance)
    root = values.sqrt()
    inverse = torch.where(root > 0, 1 / root, 0)
    return Gaussian(fitted.mean, (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T)


def between(p: Gaussian, q: Gaussian) -> Frechet:
    """The squared Fréchet distance, never below zero, and the maps that attain it."""
    product = p.root @ q.root
    squares, right = eigenvectors(product.T @ product)
    left = product @ right
    # Lengths of the images of the right singular vectors: the roots of `squares` would have half the digits.
    singular = left.square().sum(0).sqrt()
    parts = ((p.mean - q.mean).square().sum(), p.root.square().sum(), q.root.square().sum(), -2 * singular.sum())
    per_singular = torch.where(squares > 0, 1 / singular, 0)
    forth = p.inverse_root @ (left * per_singular) @ left.T @ p.inverse_root
    back = q.inverse_root @ (right * singular) @ right.T @ q.inverse_root
    return Frechet(max(math.fsum(part.item() for part in parts), 0.0), forth, back)


def frechet(f: Tensor, g: Tensor, *, device: torch.device | str = "cpu") -> Mean:
    """Squared Fréchet distance of features f: [N, d] and g: [M, d], and its standard error.

    On the device lie a dozen matrices d x d and one block of features.
    """
    p, q = (gaussian(moments(block for _, block in blocks(part, BLOCK, device))) for part in (f, g))
    distance = between(p, q)
    errors = influence(f, p, q, distance.forth).error, influence(g, q, p, distance.back).error
    return Mean(distance.value, math.hypot(*errors))


def influence(f: Tensor, own: Gaussian, other: Gaussian, transport: Tensor) -> Mean:
    """By how much the rows of f: [N, d] move the distance, to first order: mean over rows and its standard error."""
    parts: list[Tensor] = []
    for _, block in blocks(f, BLOCK, own.mean.device):
        centred = block - own.mean
        parts.append((centred * (2 * (own.mean - other.mean) + centred - centred @ transport)).sum(1))
    return mean(torch.cat(parts))


def eigenvectors(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [d], those that rounding made negative or might have made as zero, and eigenvectors [d, d]."""
    pair = torch.linalg.eigh(symmetric)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    values, vectors = cast(tuple[Tensor, Tensor], pair)
    rounding = len(values) * torch.finfo(values.dtype).eps * values[-1]
    return torch.where(values > rounding, values, 0), vectors
