"""Variance-preserving schedule with gamma linear in time: gamma(t) = gamma_min + (gamma_max - gamma_min) t.

Kingma et al., Variational Diffusion Models (arXiv 2107.00630), section 3.1; for F = identity and exact integration the
continuous bound does not depend on this choice, so it is the neutral one.
"""

from typing import Literal

import torch
from torch import Tensor

from ndm.schedules._base import Schedule, ScheduleConfig, ScheduleValue, variance_preserving


class Config(ScheduleConfig):
    kind: Literal["linear"] = "linear"

    def build(self, shape: tuple[int, ...]) -> "Linear":
        del shape
        return Linear(self)


class Linear(Schedule):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gamma_min, self.range = config.gamma_min, config.gamma_max - config.gamma_min

    def forward(self, t: Tensor) -> ScheduleValue:
        return variance_preserving(self.gamma_min + self.range * t, torch.full_like(t, self.range))
