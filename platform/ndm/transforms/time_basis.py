"""F(x, t) = (1 - t) x + sum_k b_k(t) G_k(x), k = 1..degree, with the b_k of `ndm.legendre`, each zero at t = 0.

G_1 = x + net_1(x) and G_k = net_k(x) for k > 1, so F = x + sum_k b_k(t) net_k(x). Time and data separate: one
evaluation of one network gives F at every time together with dF/dt.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ndm import networks, registry
from ndm.legendre import legendre
from ndm.transforms._base import Transform


class Config(registry.Config):
    kind: Literal["time_basis"] = "time_basis"
    network: networks.AnyConfig
    degree: int = Field(4, ge=1, examples=[1])
    """Degree of F in t."""

    def build(self, shape: tuple[int, ...]) -> "TimeBasis":
        return TimeBasis(self.network.build(shape, outputs=self.degree, timed=False), self.degree)


class TimeBasis(Transform):
    def __init__(self, network: networks.Network, degree: int) -> None:
        super().__init__()
        self.network, self.degree = network, degree

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.path(x, [t])[0]

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        nets = self.nets(x, t)
        b, d_b = legendre(t.reshape(-1, *[1] * (x.ndim - 1)), self.degree)
        return x + (b * nets).sum(0), (d_b * nets).sum(0)

    def path(self, x: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        nets = self.nets(x, times[0])
        return [x + (legendre(t.reshape(-1, *[1] * (x.ndim - 1)), self.degree)[0] * nets).sum(0) for t in times]

    def nets(self, x: Tensor, t: Tensor) -> Tensor:
        """net_k(x) for k = 1..degree: [degree, *x.shape]. The network has no time; t fills its signature."""
        return torch.stack(self.network(x, t).chunk(self.degree, dim=1))
