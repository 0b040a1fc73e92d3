"""The straight path of flow matching: alpha = 1 - tau, sigma = tau, gamma = 2 ln(tau / (1 - tau)).

Lipman et al., Flow Matching for Generative Modeling (arXiv 2210.02747), the optimal-transport path, with time
running towards the noise. tau is affine in t between sigmoid(gamma_min / 2) and sigmoid(gamma_max / 2), so
d_alpha and d_sigma are constant and d_gamma = 2 tau' / (alpha sigma). It does not preserve variance: alpha +
sigma = 1, not their squares.
"""

from math import exp
from typing import Literal

import torch
from torch import Tensor

from ndm.schedules._base import Schedule, ScheduleConfig, ScheduleValue


class Config(ScheduleConfig):
    kind: Literal["straight"] = "straight"

    def build(self, shape: tuple[int, ...]) -> "Straight":
        del shape
        return Straight(self)


class Straight(Schedule):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.start, end = 1 / (1 + exp(-config.gamma_min / 2)), 1 / (1 + exp(-config.gamma_max / 2))
        # alpha is counted from t = 1, as 1 - tau loses digits where tau is near one.
        self.left, self.rate = 1 / (1 + exp(config.gamma_max / 2)), end - self.start

    def forward(self, t: Tensor) -> ScheduleValue:
        sigma = self.start + self.rate * t
        alpha = self.left + self.rate * (1 - t)
        d_sigma = torch.full_like(t, self.rate)
        gamma = 2 * (sigma.log() - alpha.log())
        return ScheduleValue(alpha, sigma, -d_sigma, d_sigma, gamma, 2 * self.rate / (alpha * sigma))
