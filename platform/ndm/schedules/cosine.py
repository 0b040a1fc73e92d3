"""Variance-preserving cosine schedule: alpha = cos(pi tau / 2), sigma = sin(pi tau / 2).

Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models (arXiv 2102.09672), section 3.2,
without their offset: tau is affine in t between the two values at which gamma is gamma_min and gamma_max.
With theta = pi tau / 2 and its constant rate, gamma = 2 ln tan theta, d_alpha = -rate sigma, d_sigma = rate
alpha and d_gamma = 2 rate / (alpha sigma).
"""

from math import atan, exp
from typing import Literal

import torch
from torch import Tensor

from ndm.schedules._base import Schedule, ScheduleConfig, ScheduleValue


class Config(ScheduleConfig):
    kind: Literal["cosine"] = "cosine"

    def build(self, shape: tuple[int, ...]) -> "Cosine":
        del shape
        return Cosine(self)


class Cosine(Schedule):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.start, end = atan(exp(config.gamma_min / 2)), atan(exp(config.gamma_max / 2))
        # alpha is the sine of the angle left to pi/2, counted from t = 1: the cosine near pi/2 loses digits.
        self.left, self.rate = atan(exp(-config.gamma_max / 2)), end - self.start

    def forward(self, t: Tensor) -> ScheduleValue:
        sigma = torch.sin(self.start + self.rate * t)
        alpha = torch.sin(self.left + self.rate * (1 - t))
        gamma = 2 * (sigma.log() - alpha.log())
        d_gamma = 2 * self.rate / (alpha * sigma)
        return ScheduleValue(alpha, sigma, -self.rate * sigma, self.rate * alpha, gamma, d_gamma)
