"""F(x, t) = x + w(t) (y(x, t) - x), with y(x, t) = x + net(x, t): the time-dependent encoder of DiffEnc.

Nielsen et al., DiffEnc: Variational Diffusion with a Learned Encoder (arXiv 2310.19789): x_t = x + sigma_t^2 (y - x),
with the variance-preserving sigma_t^2. A transform here is exactly x at t = 0, where sigma_0^2 is not quite zero, so
with gamma(t) = gamma_min + range t and sigma^2 = sigmoid(gamma) the weight is

w(t) = sigma^2(t) - sigma^2(0) = (1 - e^(-range t)) sigma^2(t) (1 - sigma^2(0)), w'(t) = range sigma^2 (1 - sigma^2).

The paper's encoder is F + sigma^2(0) (y - x): 1.7e-6 (y - x) away at gamma_min = -13.3. A transform does not know the
schedule: w is made of that sigma^2 only where the schedule is `linear` with the same end points. That y starts as x,
and F as the identity, is an option in the authors' code. The paper's model predicts the encoded data by a network and
approximates their time derivative; here F and dF/dt are those of x_hat.
"""

from typing import Literal

import torch
from torch import Tensor

from ndm import networks
from ndm.schedules import ScheduleConfig
from ndm.transforms._base import Transform


class Config(ScheduleConfig):
    kind: Literal["encoder"] = "encoder"
    network: networks.AnyConfig

    def build(self, shape: tuple[int, ...]) -> "Encoder":
        return Encoder(self.network.build(shape), self.gamma_min, self.gamma_max - self.gamma_min)


class Encoder(Transform):
    def __init__(self, network: networks.Network, gamma_min: float, gamma_range: float) -> None:
        super().__init__()
        self.network, self.gamma_min, self.range = network, gamma_min, gamma_range

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x + self.weight(t.reshape(-1, *[1] * (x.ndim - 1)))[0] * self.network(x, t)

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        net, d_net = self.network.dual(x, t)
        w, d_w = self.weight(t.reshape(-1, *[1] * (x.ndim - 1)))
        return x + w * net, d_w * net + w * d_net

    def weight(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(w, dw/dt), shape of t; w is exactly zero at t = 0, and nothing is subtracted."""
        gamma, start = self.gamma_min + self.range * t, torch.full_like(t, self.gamma_min)
        sigma_2, alpha_2 = torch.sigmoid(gamma), torch.sigmoid(-gamma)
        return -torch.expm1(-self.range * t) * sigma_2 * torch.sigmoid(-start), self.range * sigma_2 * alpha_2
