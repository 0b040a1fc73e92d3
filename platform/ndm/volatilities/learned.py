"""ln eta(t) = c_0 + sum_k c_k b_k(t), k = 1..degree, b_k of `ndm.legendre`: a learned volatility, first one.

One function of time for all dimensions, or one for each: a learned diagonal g(t). It is trained with everything else on
the bound, of which it is a free parameter: the marginals q(z_t | x) do not depend on it. No scalar g closes the gap of
the bound for a non-linear F, so this only ever finds the least gap of its kind.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ndm import registry
from ndm.legendre import legendre
from ndm.schedules import ScheduleValue
from ndm.transforms import Transform
from ndm.volatilities._base import Volatility


class Config(registry.Config):
    kind: Literal["learned"] = "learned"
    per: Literal["scalar", "dimension"] = Field("scalar", examples=["dimension"])
    """One eta(t) for all dimensions, or one for each."""
    degree: int = Field(4, ge=1, examples=[1])
    """Degree of ln eta in t."""

    def build(self, transform: Transform, shape: tuple[int, ...]) -> "Learned":
        del transform
        return Learned(shape if self.per == "dimension" else (1,) * len(shape), self.degree)


class Learned(Volatility):
    def __init__(self, shape: tuple[int, ...], degree: int) -> None:
        super().__init__()
        self.c_0 = nn.Parameter(torch.zeros(shape))
        self.c = nn.Parameter(torch.zeros(degree, *shape))

    def forward(self, t: Tensor, value: ScheduleValue) -> Tensor:
        b, _ = legendre(t, len(self.c))
        return (self.c_0 + (b.T @ self.c.flatten(1)).reshape(len(t), *self.c_0.shape)).exp()
