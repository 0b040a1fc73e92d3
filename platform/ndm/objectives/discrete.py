"""The discrete-time bound: L_diff = sum_i KL(q(z_s | z_t, x) || q(z_s | z_t, x_hat)), t = i/T, s = (i-1)/T, i = 1..T.

Bartosh, Vetrov, Naesseth, Neural Diffusion Models (arXiv 2310.08337); one step i ~ U{1..T} is drawn per example and
weighted by T. The bound is monotone in T for an optimal denoiser and tends to the continuous one.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ndm import registry
from ndm.model import Model
from ndm.objectives._base import Noise, Objective, Terms, Weight


class Config(registry.Config):
    kind: Literal["discrete"] = "discrete"
    steps: int = Field(default=1000, ge=1)
    weight: Weight = Field("bound", examples=["noise"])
    """How training weighs the diffusion term over time; see `Objective`."""

    def build(self, model: Model) -> "Discrete":
        return Discrete(model, self.steps, self.weight)


class Discrete(Objective):
    def __init__(self, model: Model, steps: int, weight: Weight = "bound") -> None:
        super().__init__(model, weight)
        self.steps = steps

    def forward(self, x: Tensor, noise: Noise) -> Terms:
        assert self.steps is not None
        process, transform = self.model.process, self.model.process.transform
        s, t = (time.to(x.dtype) for time in self.interval(noise.u))
        value_s, value_t = process.at(s, x), process.at(t, x)
        f_s, f_t, f_1 = transform.path(x, (s, t, torch.ones_like(t)))
        z = process.latent(f_t, value_t, noise.epsilon)
        f_hat_s, f_hat_t = self.model.path(z, t, (s, t))
        eta = process.eta(t, value_t)
        diffusion = self.steps * process.step_kl(f_s - f_hat_s, f_t - f_hat_t, value_s, value_t, eta)
        return Terms(process.prior_kl(x, f_1), self.model.reconstruction(x, noise.epsilon_0), diffusion)
