"""Variance-preserving schedule with a learned monotone gamma(t) = g_0 + (g_1 - g_0) phi(t).

phi(t) = floor t + (1 - floor) (m(t) - m(0)) / (m(1) - m(0)), m(t) = w t + sum_j b_j sigmoid(a_j (t - c_j)),

with w, a_j, b_j > 0 through softplus: the monotone network of Kingma et al., Variational Diffusion Models
(arXiv 2107.00630), written as a sum of sigmoids. gamma' is at least floor (g_1 - g_0), which
keeps the bound, whose integrand divides by gamma', finite. The derivative is written out, so that it is exact
and cheap to differentiate.
"""

from math import expm1, log
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from ndm.schedules._base import Schedule, ScheduleConfig, ScheduleValue, variance_preserving

ONE = log(expm1(1.0))
"""softplus(ONE) = 1."""
STEEPNESS = 10.0
"""Initial a_j: each sigmoid rises over about a fifth of the time axis, many times their spacing."""


class Config(ScheduleConfig):
    kind: Literal["learned"] = "learned"
    width: int = Field(64, gt=0)
    """Number of sigmoids in m."""
    floor: float = Field(0.1, gt=0, lt=1)
    """Share of phi that stays linear in t."""
    learn_endpoints: bool = Field(False, examples=[True])
    """Learn g_0 and g_1 as well, starting from gamma_min and gamma_max."""

    def build(self, shape: tuple[int, ...]) -> "Learned":
        del shape
        return Learned(self)


class Learned(Schedule):
    """Starts close to linear: equal sigmoids, centred evenly from t = -0.5 to 1.5."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.floor = config.floor
        self.w = nn.Parameter(torch.tensor(ONE))
        self.a, self.b = (nn.Parameter(torch.full((config.width,), ONE)) for _ in range(2))
        self.c = nn.Parameter((torch.arange(config.width) + 0.5) * (2 / config.width) - 0.5)
        self.gamma_min, self.range = config.gamma_min, config.gamma_max - config.gamma_min
        # g_0 = gamma_min + shift and g_1 - g_0 = range e^stretch, positive whatever the optimiser does.
        self.shift, self.stretch = (
            nn.Parameter(torch.zeros(()), requires_grad=config.learn_endpoints) for _ in range(2)
        )

    def forward(self, t: Tensor) -> ScheduleValue:
        m, d_m = self.monotone(t)
        start, end = self.monotone(torch.arange(2, dtype=t.dtype, device=t.device))[0]
        scale = (1 - self.floor) / (end - start)
        phi = self.floor * t + scale * (m - start)
        gap = self.range * self.stretch.exp()
        return variance_preserving(self.gamma_min + self.shift + gap * phi, gap * (self.floor + scale * d_m))

    def monotone(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(m(t), dm/dt), both of the shape of t."""
        w, a, b = softplus(self.w), STEEPNESS * softplus(self.a), softplus(self.b) * (2 / self.b.numel())
        rise = torch.sigmoid(a * (t[..., None] - self.c))
        return w * t + (b * rise).sum(-1), w + (a * b * rise * (1 - rise)).sum(-1)
