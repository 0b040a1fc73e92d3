"""Heun's predictor and corrector on the reverse SDE, weak order 2 because g depends on time alone. h = t - s,

    noise = sqrt(h (g_t^2 + g_s^2) / 2) epsilon,    the same in both lines
    z'  = z_t - h f^B(z_t, t) + noise
    z_s = z_t - h (f^B(z_t, t) + f^B(z', s)) / 2 + noise.

This is the explicit weak scheme of order 2 for additive noise (Kloeden and Platen, Numerical Solution of Stochastic
Differential Equations, section 15.1) with Gaussian increments, whose variance, the integral of g^2, is taken by the
trapezoidal rule. The increments and their covariance with the drift's are then right up to h^3 a step. Strong order is
1. Two evaluations a step; eta = 0 is Heun's method on the ODE.
"""

from typing import Literal

from torch import Tensor

from ndm.model import Model
from ndm.sampling._reverse import ReverseConfig, ReverseSDE


class Config(ReverseConfig):
    kind: Literal["stochastic_heun"] = "stochastic_heun"

    def build(self, trained_steps: int | None) -> "StochasticHeun":
        return StochasticHeun(self.number(trained_steps), self.eta, self.grid, self.times)


class StochasticHeun(ReverseSDE):
    evaluations_per_step = 2

    def step(self, model: Model, z: Tensor, t: Tensor, s: Tensor, epsilon: Tensor) -> Tensor:
        h = float(t[0] - s[0])
        f_t = model.reverse_drift(z, t, self.eta)
        noise = (h * (self.g2(model, z, t) + self.g2(model, z, s)) / 2).sqrt() * epsilon
        f_s = model.reverse_drift(z - h * f_t + noise, s, self.eta)
        return z - h / 2 * (f_t + f_s) + noise
