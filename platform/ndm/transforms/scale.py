"""F(x, t) = a(t) x with ln a(t) = sum_k c_k b_k(t), k = 1..degree, the b_k of `ndm.legendre`: a(0) = 1 and a(t) > 0.

The smallest learned transform: one multiplier for all dimensions of x, or one for each. Its latents are those of F =
identity under the log-SNR of gamma - 2 ln a, so it stands for a learned schedule on the ladder from the identity to a
network. The bound is tight only at the volatility of that schedule, g^2 = sigma^2 (gamma' - 2 a'/a); at the process's
own g^2 = eta sigma^2 gamma' a gap is left.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ndm import registry
from ndm.legendre import legendre
from ndm.transforms._base import Transform


class Config(registry.Config):
    kind: Literal["scale"] = "scale"
    per: Literal["scalar", "dimension"] = Field("scalar", examples=["dimension"])
    """One multiplier for all of x, or one for each of its dimensions."""
    degree: int = Field(4, ge=1, examples=[1])
    """Degree of ln a in t."""

    def build(self, shape: tuple[int, ...]) -> "Scale":
        return Scale(shape if self.per == "dimension" else (1,) * len(shape), self.degree)


class Scale(Transform):
    """The identity at the start: all c_k are zero."""

    def __init__(self, shape: tuple[int, ...], degree: int) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.zeros(degree, *shape))

    def multiplier(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a(t), da/dt) at t: [B], both [B, *shape] or, with one multiplier, [B, 1, ...]."""
        b, d_b = legendre(t, len(self.c))
        shape = (len(t), *self.c.shape[1:])
        log_a, d_log_a = ((weights.T @ self.c.flatten(1)).reshape(shape) for weights in (b, d_b))
        return log_a.exp(), log_a.exp() * d_log_a

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.multiplier(t)[0] * x

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        a, d_a = self.multiplier(t)
        return a * x, d_a * x

    def path(self, x: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        return [self(x, t) for t in times]
