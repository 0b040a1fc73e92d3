"""Ancestral sampling: z_s ~ q(z_s | z_t, x_hat(z_t, t)) down a grid of times, the generative model of the discrete bound.

eta scales DDPM's posterior variance: 1 is DDPM's ancestral sampler, 0 is DDIM's deterministic one
(Song, Meng, Ermon, arXiv 2010.02502), here with x replaced by F(x_hat, s) and F(x_hat, t).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ndm import registry
from ndm.model import Model
from ndm.randomness import Stream
from ndm.sampling._base import Draw, Sampler


class Config(registry.Config):
    kind: Literal["ancestral"] = "ancestral"
    steps: int | None = Field(default=None, ge=1)
    """By default the T the model was trained with, or 100 for a model in continuous time."""
    eta: float = Field(default=1.0, ge=0, le=1)

    def build(self, trained_steps: int | None) -> "Ancestral":
        return Ancestral(self.steps or trained_steps or 100, self.eta)


class Ancestral(Sampler):
    def __init__(self, steps: int, eta: float) -> None:
        self.steps, self.eta = steps, eta

    def run(self, model: Model, z: Tensor, first_id: int, seed: int) -> Draw:
        process = model.process
        for i in reversed(range(self.steps)):
            s, t = z.new_full((len(z),), i / self.steps), z.new_full((len(z),), (i + 1) / self.steps)
            value_s, value_t = process.at(s, z), process.at(t, z)
            f_s, f_t = model.path(z, t, (s, t))
            v = process.posterior_variance(value_s, value_t, self.eta)
            epsilon = Stream(seed, "sample/epsilon", i).normal(first_id, len(z), model.shape, z.dtype).to(z.device)
            z = process.posterior_mean(z, f_s, f_t, value_s, value_t, v) + torch.sqrt(v) * epsilon
        return Draw(z, self.steps)
