"""Euler and Maruyama's method on the reverse SDE: z_s = z_t - h f^B(z_t, t) + g_t sqrt(h) epsilon, h = t - s.

Weak order 1, one evaluation a step; eta = 0 is Euler's method on the ODE.
"""

from typing import Literal

from torch import Tensor

from ndm.model import Model
from ndm.sampling._reverse import ReverseConfig, ReverseSDE


class Config(ReverseConfig):
    kind: Literal["sde"] = "sde"

    def build(self, trained_steps: int | None) -> "EulerMaruyama":
        return EulerMaruyama(self.number(trained_steps), self.eta, self.grid, self.times)


class EulerMaruyama(ReverseSDE):
    evaluations_per_step = 1

    def step(self, model: Model, z: Tensor, t: Tensor, s: Tensor, epsilon: Tensor) -> Tensor:
        h = float(t[0] - s[0])
        return z - h * model.reverse_drift(z, t, self.eta) + (h * self.g2(model, z, t)).sqrt() * epsilon
