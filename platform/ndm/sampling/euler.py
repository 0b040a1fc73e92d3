"""Euler's method on the model's probability-flow ODE, z_s = z_t + (s - t) u(z_t, t): order 1, one evaluation a step."""

from itertools import pairwise
from typing import Literal

from torch import Tensor

from ndm.model import Model
from ndm.sampling._base import Draw
from ndm.sampling._grid import GridConfig, GridSampler


class Config(GridConfig):
    kind: Literal["euler"] = "euler"

    def build(self, trained_steps: int | None) -> "Euler":
        return Euler(self.number(trained_steps), self.grid, self.times)


class Euler(GridSampler):
    def run(self, model: Model, z: Tensor, first_id: int, seed: int) -> Draw:
        del first_id, seed
        times = self.times(model, z)
        for t, s in pairwise(times):
            z = z + float(s[0] - t[0]) * model.velocity(z, t)
        return Draw(z, self.steps)
