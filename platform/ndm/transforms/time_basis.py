"""F(x, t) = (1 - t) x + sum_k b_k(t) G_k(x), k = 1..degree, with b_k(t) = t P_{k-1}(2t - 1) (Legendre).

G_1 = x + net_1(x) and G_k = net_k(x) for k > 1, so F = x + sum_k b_k(t) net_k(x); b_k(0) = 0 holds F(x, 0) =
x. Time and data separate: one evaluation of one network gives F at every time together with dF/dt, whose b_k'
come from the recurrences (k+1) P_{k+1} = (2k+1) s P_k - k P_{k-1} and P'_{k+1} = P'_{k-1} + (2k+1) P_k.
Legendre polynomials, bounded by one and orthogonal on [0, 1], keep the coefficients comparable at any degree,
unlike powers.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ndm import networks, registry
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
        b, d_b = self.basis(t.reshape(-1, *[1] * (x.ndim - 1)))
        return x + (b * nets).sum(0), (d_b * nets).sum(0)

    def path(self, x: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        nets = self.nets(x, times[0])
        return [x + (self.basis(t.reshape(-1, *[1] * (x.ndim - 1)))[0] * nets).sum(0) for t in times]

    def nets(self, x: Tensor, t: Tensor) -> Tensor:
        """net_k(x) for k = 1..degree: [degree, *x.shape]. The network has no time; t fills its signature."""
        return torch.stack(self.network(x, t).chunk(self.degree, dim=1))

    def basis(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """b_k(t) and b_k'(t) for k = 1..degree, both [degree, *t.shape]."""
        s = 2 * t - 1
        p, d_p = [torch.ones_like(t), s], [torch.zeros_like(t), torch.ones_like(t)]
        for k in range(1, self.degree - 1):
            p.append(((2 * k + 1) * s * p[k] - k * p[k - 1]) / (k + 1))
            d_p.append(d_p[k - 1] + (2 * k + 1) * p[k])
        legendre = torch.stack(p[: self.degree])
        return t * legendre, legendre + 2 * t * torch.stack(d_p[: self.degree])
