"""Variance-preserving schedule of DDPM, beta linear in time: alpha(t)^2 = exp(-B(t)), B' = beta(t).

Ho, Jain, Abbeel, Denoising Diffusion Probabilistic Models (arXiv 2006.11239), beta_i from 1e-4 to 0.02 in 1000 steps;
in continuous time Song et al., Score-Based Generative Modeling (arXiv 2011.13456), equation 32, beta from 0.1 to 20:

B(t) = B_0 + beta_min (t + (ratio - 1) t^2 / 2), gamma = ln(e^B - 1), gamma' = B' / (1 - e^-B).

B_0 = ln(1 + e^gamma_min) is the noise at which DDPM decodes, and beta_min follows from gamma_max: at gamma_max = 10 and
the papers' ratio of 200 it is 0.0995.
"""

from math import exp, log1p
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ndm.schedules._base import Schedule, ScheduleConfig, ScheduleValue, variance_preserving


class Config(ScheduleConfig):
    kind: Literal["linear_beta"] = "linear_beta"
    ratio: float = Field(200.0, ge=1, examples=[1.0])
    """beta at t = 1 over beta at t = 0."""

    def build(self, shape: tuple[int, ...]) -> "LinearBeta":
        del shape
        return LinearBeta(self)


def softplus(gamma: float) -> float:
    """ln(1 + e^gamma) = -ln alpha^2."""
    return log1p(exp(gamma)) if gamma < 0 else gamma + log1p(exp(-gamma))


class LinearBeta(Schedule):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.start = softplus(config.gamma_min)
        self.beta_min = 2 * (softplus(config.gamma_max) - self.start) / (1 + config.ratio)
        self.slope = self.beta_min * (config.ratio - 1)

    def forward(self, t: Tensor) -> ScheduleValue:
        b = self.start + t * (self.beta_min + self.slope * t / 2)
        return variance_preserving(torch.expm1(b).log(), (self.beta_min + self.slope * t) / -torch.expm1(-b))
