"""Heun's method on the model's probability-flow ODE: order 2, two evaluations a step.

z' = z_t + (s - t) u(z_t, t), then z_s = z_t + (s - t) (u(z_t, t) + u(z', s)) / 2. sigma_0 > 0, so the last step is no
exception.
"""

from itertools import pairwise
from typing import Literal

from torch import Tensor

from ndm.model import Model
from ndm.sampling._base import Draw
from ndm.sampling._grid import GridConfig, GridSampler


class Config(GridConfig):
    kind: Literal["heun"] = "heun"

    def build(self, trained_steps: int | None) -> "Heun":
        return Heun(self.number(trained_steps), self.grid, self.times)


class Heun(GridSampler):
    def run(self, model: Model, z: Tensor, first_id: int, seed: int) -> Draw:
        del first_id, seed
        times = self.times(model, z)
        for t, s in pairwise(times):
            step = float(s[0] - t[0])
            u = model.velocity(z, t)
            z = z + step / 2 * (u + model.velocity(z + step * u, s))
        return Draw(z, 2 * self.steps)
