"""Variance-preserving schedule with a learned gamma for each dimension of x: gamma_d(t) = g_0 + (g_1 - g_0) phi_d(t).

phi = floor t + (1 - floor) f(t) / f(1), f(t) = int_0^t (a s^2 + b s + c)^2 ds
    = a^2 t^5 / 5 + a b t^4 / 2 + (b^2 + 2 a c) t^3 / 3 + b c t^2 + c^2 t,

the monotone polynomial of Sahoo et al., Diffusion Models With Learned Adaptive Noise (MuLAN, arXiv 2312.13236), with
a, b, c learned for each dimension and no auxiliary variable they depend on. The square may vanish inside [0, 1], where
gamma' would be zero and the bound, which divides by it, infinite: `floor`, which is not in the paper, keeps gamma' from
falling below floor (g_1 - g_0). All dimensions share the end points; for F = identity and an optimal denoiser the
bound depends on nothing else.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ndm.schedules._base import Schedule, ScheduleConfig, ScheduleValue, variance_preserving


class Config(ScheduleConfig):
    kind: Literal["per_dimension"] = "per_dimension"
    floor: float = Field(0.1, gt=0, lt=1)
    """Share of phi that stays linear in t."""

    def build(self, shape: tuple[int, ...]) -> "PerDimension":
        return PerDimension(self, shape)


class PerDimension(Schedule):
    """Values of shape [*t.shape, *shape]. Linear in t at the start: a = b = 0."""

    def __init__(self, config: Config, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.gamma_min, self.range, self.floor = config.gamma_min, config.gamma_max - config.gamma_min, config.floor
        self.a, self.b = (nn.Parameter(torch.zeros(shape)) for _ in range(2))
        self.c = nn.Parameter(torch.ones(shape))

    def forward(self, t: Tensor) -> ScheduleValue:
        t = t.reshape(*t.shape, *[1] * self.c.ndim)
        whole = self.integral(torch.ones((), dtype=t.dtype, device=t.device))
        share = 1 - self.floor
        phi = self.floor * t + share * self.integral(t) / whole
        rate = self.floor + share * (self.a * t**2 + self.b * t + self.c).square() / whole
        return variance_preserving(self.gamma_min + self.range * phi, self.range * rate)

    def integral(self, t: Tensor) -> Tensor:
        """f(t), shape of t and the parameters broadcast together."""
        a, b, c = self.a, self.b, self.c
        powers = (c**2, b * c, (b**2 + 2 * a * c) / 3, a * b / 2, a**2 / 5)
        total = torch.zeros_like(t)
        for power in reversed(powers):
            total = t * (total + power)
        return total
