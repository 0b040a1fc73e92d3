"""Heat dissipation, for images: F(x, t) = V^T exp(-Lambda tau(t)) V x, V the orthonormal two-dimensional DCT-II.

Rissanen, Heinonen, Solin, Generative Modelling with Inverse Heat Dissipation (arXiv 2206.13397); Hoogeboom, Salimans,
Blurring Diffusion Models (arXiv 2209.05557). The heat equation with reflecting edges damps frequency (i, j) of an H x W
image at the rate lambda_ij = pi^2 (i^2/H^2 + j^2/W^2); after tau = sigma_B^2 / 2 that is a blur of sigma_B pixels, and

sigma_B(t) = sigma sin^2(pi t / 2), tau(t) = sigma^2 sin^4(pi t / 2) / 2, tau'(t) = pi sigma^2 sin^3(.) cos(.)

vanish smoothly at t = 0. Hoogeboom and Salimans keep the factors above 0.001, as they divide by them; nothing here
does, and the heat equation is left as it is. Channels are blurred alike and keep their means.
"""

from collections.abc import Sequence
from math import log, pi
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ndm import registry
from ndm.errors import UserError
from ndm.transforms._base import Transform


class Config(registry.Config):
    kind: Literal["blur"] = "blur"
    sigma: float = Field(4.0, gt=0)
    """Blur at t = 1, the standard deviation in pixels; half a side leaves little but each channel's mean."""
    learned: bool = Field(False, examples=[True])
    """Learn sigma, from this value on; it stays positive."""

    def build(self, shape: tuple[int, ...]) -> "Blur":
        if len(shape) != 3:
            raise UserError(f"kind blur takes images, not data of shape {shape}; use kind linear or kind scale")
        return Blur(self, shape[1], shape[2])


def cosines(n: int) -> Tensor:
    """The orthonormal DCT-II as a matrix [n, n], float64: row k is proportional to cos(pi k (2 i + 1) / (2 n))."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    rows = torch.cos(pi * k * (2 * i + 1) / (2 * n))
    return rows / rows.square().sum(1, keepdim=True).sqrt()


class Blur(Transform):
    log_sigma: Tensor
    rows: Tensor
    columns: Tensor
    rates: Tensor

    def __init__(self, config: Config, height: int, width: int) -> None:
        super().__init__()
        if config.learned:
            self.log_sigma = nn.Parameter(torch.tensor(log(config.sigma)))
        else:
            self.register_buffer("log_sigma", torch.tensor(log(config.sigma), dtype=torch.float64), persistent=False)
        # Constants in float64, so that a model moved to float64 is exact to float64.
        self.register_buffer("rows", cosines(height), persistent=False)
        self.register_buffer("columns", cosines(width), persistent=False)
        i, j = torch.arange(height, dtype=torch.float64) / height, torch.arange(width, dtype=torch.float64) / width
        self.register_buffer("rates", pi**2 * (i[:, None] ** 2 + j**2), persistent=False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.path(x, [t])[0]

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        v = self.spectrum(x)
        rates = self.rates.to(x.dtype)
        tau, d_tau = self.dissipation(t[:, None, None, None])
        # F - x, as the transform pair leaves rounding errors in x and F(x, 0) = x is exact.
        lost = torch.expm1(-rates * tau)
        return x + self.image(lost * v), self.image(-rates * d_tau * (lost + 1) * v)

    def path(self, x: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        v, rates = self.spectrum(x), self.rates.to(x.dtype)
        return [x + self.image(torch.expm1(-rates * self.dissipation(t[:, None, None, None])[0]) * v) for t in times]

    def dissipation(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(tau, dtau/dt) in squared pixels, shape of t."""
        variance = (2 * self.log_sigma).exp().to(t.dtype)
        sine, cosine = torch.sin(pi / 2 * t), torch.cos(pi / 2 * t)
        return variance * sine**4 / 2, variance * pi * sine**3 * cosine

    def spectrum(self, x: Tensor) -> Tensor:
        """V x: the coefficients of the cosines, [B, C, H, W]."""
        return self.rows.to(x.dtype) @ x @ self.columns.T.to(x.dtype)

    def image(self, v: Tensor) -> Tensor:
        """V^T v: the inverse of `spectrum`."""
        return self.rows.T.to(v.dtype) @ v @ self.columns.to(v.dtype)
