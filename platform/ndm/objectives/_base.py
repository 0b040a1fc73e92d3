"""What an objective is: the negative variational bound of one batch, in its three named terms."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ndm.errors import UserError
from ndm.model import Model
from ndm.schedules import ScheduleValue

Weight = Literal["bound", "noise", "velocity"]


class Noise(NamedTuple):
    """The randomness one evaluation of the bound consumes; drawn outside, so that it can be a function of position."""

    u: Tensor
    """Uniform in [0, 1), shape [B]: decides the time."""
    epsilon: Tensor
    """Standard normal, [B, *shape]: decides z_t."""
    epsilon_0: Tensor
    """Standard normal, [B, *shape]: decides z_0 of the reconstruction term."""


class Terms(NamedTuple):
    """The bound's terms in nats per example, each of shape [B]; their sum estimates an upper bound of -ln p(x)."""

    prior: Tensor
    reconstruction: Tensor
    diffusion: Tensor

    @property
    def total(self) -> Tensor:
        return self.prior + self.reconstruction + self.diffusion


class Objective(nn.Module, ABC):
    """An unbiased one-sample estimate of the bound for data x in model space; owns the model it trains.

    All three terms carry gradients: with the diffusion term alone, F = constant would be optimal. Training may weigh
    the diffusion term over time in another way than the bound does (`weight`):

        noise       |eps - eps_hat|^2 with t uniform: L_simple of DDPM (arXiv 2006.11239), equation 14
        velocity    |u - u_hat|^2 with t uniform: flow matching (arXiv 2210.02747), equation 14

    up to a constant, for F = identity and, in discrete time, eta = 1. What is reported stays the bound.

    Raises:
        UserError: another weight than the bound's for a process that is learned, which would then lower its loss by
            taking the weight away from the terms instead of by a better model.
    """

    steps: int | None
    """Number of discrete steps, or None in continuous time."""

    def __init__(self, model: Model, weight: Weight = "bound") -> None:
        super().__init__()
        self.model = model
        self.weight: Weight = weight
        if weight != "bound" and any(p.requires_grad for p in model.process.parameters()):
            raise UserError(
                f"objective.weight={weight} would let a learned forward process escape the loss; give "
                "objective.weight=bound, or a transform, schedule and volatility without parameters"
            )

    def loss(self, terms: Terms, noise: Noise) -> Tensor:
        """What training descends, [B]: the bound's `terms` of `noise`, with the diffusion term weighed anew."""
        if self.weight == "bound":
            return terms.total
        s, t = self.interval(noise.u)
        with torch.no_grad():
            scale = self.rescale(*(self.model.process.schedule(time) for time in (s, t))).to(terms.diffusion.dtype)
        return terms.prior + terms.reconstruction + scale * terms.diffusion

    def interval(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The step (s, t) that uniforms u: [B] decide; s = t in continuous time."""
        if self.steps is None:
            return u, u
        index = (u * self.steps).floor().clamp(0, self.steps - 1)
        return index / self.steps, (index + 1) / self.steps

    def rescale(self, s: ScheduleValue, t: ScheduleValue) -> Tensor:
        """The weight of |eps - eps_hat|^2 asked for, over the bound's: T (SNR_s / SNR_t - 1) / 2, or gamma' / 2."""
        own = t.d_gamma / 2 if self.steps is None else torch.expm1(t.gamma - s.gamma) * self.steps / 2
        wanted = torch.ones_like(own) if self.weight == "noise" else (t.sigma * t.d_gamma / 2) ** 2
        return wanted / own

    @abstractmethod
    def forward(self, x: Tensor, noise: Noise) -> Terms:
        """The terms for x: [B, *shape], float, in the decoder's model space."""
