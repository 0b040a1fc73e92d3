"""Grids of times 1 = t_0 > t_1 > ... > t_n = 0: where a sampler with a fixed number of steps evaluates the network.

    uniform    equal steps of t
    log_snr    equal steps of gamma, that is, of log SNR
    edm        equal steps of (sigma / alpha)^(1/7), Karras et al., Elucidating the Design Space of Diffusion-Based
               Generative Models (arXiv 2206.00364), equation 5, between the model's own end points

The last two invert gamma(t) by bisection, so they follow any increasing schedule, a learned one too. Times given one
by one, such as those found by `optimise`, take the place of a rule.
"""

from abc import ABC
from itertools import pairwise
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ndm import registry
from ndm.model import Model
from ndm.sampling._base import Sampler

Rule = Literal["uniform", "log_snr", "edm"]
RHO = 7
BISECTIONS = 60
"""Halvings of [0, 1]: below the spacing of float64."""


class GridConfig(registry.Config):
    """Keys that every sampler on a fixed grid has."""

    steps: int | None = Field(default=None, ge=1)
    """By default the T the model was trained with, or 100 for a model in continuous time."""
    grid: Rule = Field(default="uniform", examples=["log_snr", "edm"])
    times: tuple[float, ...] | None = Field(default=None, min_length=2, examples=[(1.0, 0.8, 0.3, 0.0)])
    """All times from 1 down to 0, in place of `steps` and `grid`."""

    @model_validator(mode="after")
    def _downwards(self) -> Self:
        if self.times is None:
            return self
        if (self.times[0], self.times[-1]) != (1, 0) or any(t <= s for t, s in pairwise(self.times)):
            raise ValueError("times must fall from 1 to 0, each below the one before")
        if self.steps not in (None, len(self.times) - 1):
            raise ValueError(f"steps is {self.steps} but times make {len(self.times) - 1}; set steps to null")
        return self

    def number(self, trained_steps: int | None) -> int:
        """How many steps the sampler takes."""
        return len(self.times) - 1 if self.times else self.steps or trained_steps or 100


def gamma_at(model: Model, t: Tensor) -> Tensor:
    """gamma at times t: [n] in float64, [n]; the mean over dimensions where a schedule has one per dimension."""
    return model.process.at(t, t.new_zeros(len(t), *model.shape)).gamma.flatten(1).mean(1)


def at_gamma(model: Model, gamma: Tensor) -> Tensor:
    """The times at which the model's schedule has the values gamma: [n]."""
    low, high = torch.zeros_like(gamma), torch.ones_like(gamma)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = gamma_at(model, middle) > gamma
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def grid_times(model: Model, steps: int, rule: Rule, device: torch.device) -> tuple[float, ...]:
    """The steps + 1 times of a rule, from 1 to 0."""
    if rule == "uniform":
        return tuple(i / steps for i in range(steps, -1, -1))
    start, end = gamma_at(model, torch.tensor([1.0, 0.0], dtype=torch.float64, device=device))
    part = torch.arange(1, steps, dtype=torch.float64, device=device) / steps
    if rule == "log_snr":
        gamma = start + part * (end - start)
    else:
        power = 1 / (2 * RHO)
        root = (start * power).exp() + part * ((end * power).exp() - (start * power).exp())
        gamma = root.log() / power
    return (1.0, *(float(t) for t in at_gamma(model, gamma).cpu()), 0.0)


class GridSampler(Sampler, ABC):
    """A sampler that takes one step from each time of its grid to the next."""

    def __init__(self, steps: int, grid: Rule = "uniform", times: tuple[float, ...] | None = None) -> None:
        self.steps, self.given = steps, times
        self.grid: Rule = grid

    def times(self, model: Model, z: Tensor) -> list[Tensor]:
        """The grid, each time as a tensor [B] beside z: [B, *shape]."""
        times = self.given or grid_times(model, self.steps, self.grid, z.device)
        return [z.new_full((len(z),), t) for t in times]
