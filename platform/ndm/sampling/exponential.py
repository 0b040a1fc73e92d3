"""Two-step exponential integrator of the probability-flow ODE: DPM-Solver++(2M) worked out for a transform of the data.

With lambda = -gamma / 2 = ln(alpha / sigma) the ODE is, exactly,

    d(z / sigma) / dlambda = e^lambda D,    D = F - 2 (dF/dt) / gamma' = F + dF/dlambda,

since u = (sigma'/sigma) z - alpha gamma' (F/2 - (dF/dt)/gamma'). So z / sigma absorbs the linear part, and D takes the
place that the data prediction has in Lu et al., DPM-Solver++ (arXiv 2211.01095), algorithm 2; F = identity gives that
solver back. From t to s, with h = lambda_s - lambda_t and D extrapolated to the middle of the step,

    z_s = (sigma_s / sigma_t) z_t - alpha_s (e^-h - 1) [D_t + (h / 2 h_before) (D_t - D_before)].

The first step has nothing before it and takes D_t alone. Order 2, one evaluation a step. docs/samplers.md derives it.
"""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ndm.model import Model
from ndm.sampling._base import Draw
from ndm.sampling._grid import GridConfig, GridSampler, Rule


class Config(GridConfig):
    kind: Literal["exponential"] = "exponential"
    grid: Rule = Field(default="log_snr", examples=["uniform", "edm"])

    def build(self, trained_steps: int | None) -> "Exponential":
        return Exponential(self.number(trained_steps), self.grid, self.times)


class Exponential(GridSampler):
    def run(self, model: Model, z: Tensor, first_id: int, seed: int) -> Draw:
        del first_id, seed
        before: tuple[Tensor, Tensor] | None = None
        for t, s in pairwise(self.times(model, z)):
            value_t, value_s = model.process.at(t, z), model.process.at(s, z)
            f, d_f = model.dual(z, t)
            d = middle = f - 2 * d_f / value_t.d_gamma
            h = (value_t.gamma - value_s.gamma) / 2
            if before is not None:
                d_before, h_before = before
                middle = d + h / (2 * h_before) * (d - d_before)
            z = value_s.sigma / value_t.sigma * z - value_s.alpha * torch.expm1(-h) * middle
            before = d, h
        return Draw(z, self.steps)
