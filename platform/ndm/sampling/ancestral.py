"""Ancestral sampling: z_s ~ q(z_s | z_t, x_hat(z_t, t)) down a grid of times, the discrete bound's generative model.

eta scales DDPM's posterior variance: 1 is DDPM's ancestral sampler, 0 is DDIM's deterministic one
(Song, Meng, Ermon, arXiv 2010.02502), here with x replaced by F(x_hat, s) and F(x_hat, t). The bound's own grid is
the uniform one with its T steps; any other grid is another generative model.
"""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ndm.model import Model
from ndm.randomness import Stream
from ndm.sampling._base import Draw
from ndm.sampling._grid import GridConfig, GridSampler, Rule


class Config(GridConfig):
    kind: Literal["ancestral"] = "ancestral"
    eta: float | None = Field(default=None, ge=0, le=1, examples=[0.0])
    """By default that of the process the model was trained with, which for a constant volatility is its eta."""

    def build(self, trained_steps: int | None) -> "Ancestral":
        return Ancestral(self.number(trained_steps), self.eta, self.grid, self.times)


class Ancestral(GridSampler):
    def __init__(
        self, steps: int, eta: float | None, grid: Rule = "uniform", times: tuple[float, ...] | None = None
    ) -> None:
        super().__init__(steps, grid, times)
        self.eta = eta

    def run(self, model: Model, z: Tensor, first_id: int, seed: int) -> Draw:
        process = model.process
        for i, (t, s) in zip(reversed(range(self.steps)), pairwise(self.times(model, z)), strict=True):
            value_s, value_t = process.at(s, z), process.at(t, z)
            f_s, f_t = model.path(z, t, (s, t))
            eta = process.eta(t, value_t) if self.eta is None else self.eta
            v = process.posterior_variance(value_s, value_t, eta)
            epsilon = Stream(seed, "sample/epsilon", i).normal(first_id, len(z), model.shape, z.dtype).to(z.device)
            z = process.posterior_mean(z, f_s, f_t, value_s, value_t, v) + torch.sqrt(v) * epsilon
        return Draw(z, self.steps)
