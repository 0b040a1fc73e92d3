"""Data of K levels v_k = 2(k + 1/2)/K - 1: p(v_k | z_0) = softmax_k(-(z_0 - alpha_0 v_k)^2 / (2 sigma_0^2)).

Kingma et al., Variational Diffusion Models (arXiv 2107.00630), each dimension on its own. It is
a probability of the stored integers, so the bound is in nats (or bits) of them without an offset.
"""

import torch
from torch import Tensor

from ndm.decoders._base import Decoder

MOST_LEVELS = 256
NEGLIGIBLE = 40.0
"""A level this much lower in the exponent weighs e^-40 of the nearest, below the rounding of float64."""


class Categorical(Decoder):
    """`levels` from 2 to 256."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        assert 2 <= levels <= MOST_LEVELS
        self.levels = levels

    def encode(self, raw: Tensor) -> Tensor:
        return (2 * raw.to(torch.float32) + 1) / self.levels - 1

    def decode(self, x: Tensor) -> Tensor:
        return self.level(x).to(torch.uint8)

    def level(self, x: Tensor) -> Tensor:
        """Index k of the level nearest to x, as a floating-point number."""
        return ((x + 1) * (self.levels / 2) - 0.5).round().clamp(0, self.levels - 1)

    def log_prob(self, x: Tensor, z_0: Tensor, alpha_0: Tensor, sigma_0: Tensor) -> Tensor:
        """Memory is that of z_0; with gradients, times the levels that weigh, some 9 e^(gamma_0/2) K of them.

        Levels too far from z_0 / alpha_0 to weigh anything in float64 are left out.
        """
        # In units of the spacing 2 / K the exponent of level k is -c (u - k)^2, u the place of z_0 / alpha_0.
        c = 2 * (alpha_0 / (sigma_0 * self.levels)).square()
        level = self.level(x)
        error = (z_0 / alpha_0 - x) * (self.levels / 2)
        nearest = (level + error.detach().round()).clamp(0, self.levels - 1)
        offset = error - (nearest - level)
        reach = int((NEGLIGIBLE / c.detach().amin()).sqrt().nan_to_num(nan=self.levels)) + 1
        total = torch.ones_like(offset)  # the softmax's denominator over its largest term
        for j in range(1, min(reach + 1, self.levels)):
            for k in (-j, j):
                exponent = -c * (k * k - 2 * k * offset)
                outside = (nearest + k < 0) | (nearest + k >= self.levels)
                total = total + exponent.masked_fill(outside, -torch.inf).exp()
        return (-c * (nearest - level) * (error + offset) - total.log()).flatten(1).sum(1)
