"""What an objective is: the negative variational bound of one batch, in its three named terms."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from ndm.model import Model


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

    All three terms carry gradients: with the diffusion term alone, F = constant would be optimal.
    """

    steps: int | None
    """Number of discrete steps, or None in continuous time."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    @abstractmethod
    def forward(self, x: Tensor, noise: Noise) -> Terms:
        """The terms for x: [B, *shape], float, in the decoder's model space."""
