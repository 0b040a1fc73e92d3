"""Fourier features of the data: extra inputs sin(pi f x) and cos(pi f x) for each frequency f.

Kingma et al., Variational Diffusion Models (arXiv 2107.00630), appendix C, with f = 2^n. A pixel of K levels has the
spacing 2 / K in [-1, 1], so f = K tells the network where within a level a nearly noise-free value lies, which is what
the last bits of a likelihood hang on; a plain network learns that staircase very slowly.
"""

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor


def with_fourier(x: Tensor, frequencies: Sequence[float]) -> Tensor:
    """x: [B, C, ...] -> [B, C (1 + 2 n), ...] for n frequencies: x, then the sines, then the cosines."""
    if not frequencies:
        return x
    angles = torch.cat([pi * f * x for f in frequencies], dim=1)
    return torch.cat([x, angles.sin(), angles.cos()], dim=1)
