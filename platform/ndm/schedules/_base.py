"""What a noise schedule is: alpha_t and sigma_t of q(z_t | x) = N(alpha_t F(x, t), sigma_t^2 I), with time derivatives.

Time runs from the data side, t = 0, to the noise side, t = 1. gamma(t) = log(sigma_t^2 / alpha_t^2) is the negative
log signal-to-noise ratio; it increases from `gamma_min` at t = 0 to `gamma_max` at t = 1 in every schedule.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ndm import registry


class ScheduleValue(NamedTuple):
    """A schedule at the times t: each field has the shape of t, or [*t.shape, *shape] if each dimension has its own."""

    alpha: Tensor
    sigma: Tensor
    d_alpha: Tensor
    """d alpha / dt."""
    d_sigma: Tensor
    """d sigma / dt."""
    gamma: Tensor
    """log(sigma^2 / alpha^2) = -log SNR."""
    d_gamma: Tensor
    """d gamma / dt > 0."""


class ScheduleConfig(registry.Config):
    """Keys that every schedule has: the end points of gamma.

    A variant's `build(shape)` takes the shape of one example, which only schedules per dimension need.
    """

    gamma_min: float = -13.3
    gamma_max: float = 5.0

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if not self.gamma_min < self.gamma_max:
            raise ValueError(f"gamma_min ({self.gamma_min}) must be below gamma_max ({self.gamma_max})")
        return self


class Schedule(nn.Module, ABC):
    """alpha_t, sigma_t and their time derivatives."""

    @abstractmethod
    def forward(self, t: Tensor) -> ScheduleValue:
        """The schedule at times t in [0, 1] of any shape, mostly [B]; differentiable in t and in its parameters."""


def variance_preserving(gamma: Tensor, d_gamma: Tensor) -> ScheduleValue:
    """alpha^2 = sigmoid(-gamma), sigma^2 = sigmoid(gamma), so that alpha^2 + sigma^2 = 1.

    d_alpha = -gamma' alpha sigma^2 / 2 and d_sigma = gamma' sigma alpha^2 / 2 follow by differentiating the sigmoids.
    """
    alpha, sigma = torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()
    half = d_gamma / 2
    return ScheduleValue(alpha, sigma, -half * alpha * sigma**2, half * sigma * alpha**2, gamma, d_gamma)
