"""The model's reverse SDE at any volatility, dz = f^B dt + g dW with t falling, f^B = u - g^2 score / 2.

g^2 = eta sigma^2 gamma': 1 is the volatility of the usual diffusion models, 0 the probability-flow ODE. With the exact
averages of F and dF/dt every eta has the same marginals; what a sampler loses differs.
"""

from abc import ABC, abstractmethod
from itertools import pairwise

from pydantic import Field
from torch import Tensor

from ndm.model import Model
from ndm.randomness import Stream
from ndm.sampling._base import Draw
from ndm.sampling._grid import GridConfig, GridSampler, Rule


class ReverseConfig(GridConfig):
    """Keys of a sampler of the reverse SDE."""

    eta: float | None = Field(default=None, ge=0, examples=[0.0])
    """g^2 in units of sigma^2 gamma'; by default the volatility that the model was trained with."""


class ReverseSDE(GridSampler, ABC):
    """Walks down the grid with one standard normal a step, addressed by (seed, step, sample)."""

    evaluations_per_step: int

    def __init__(
        self, steps: int, eta: float | None, grid: Rule = "uniform", times: tuple[float, ...] | None = None
    ) -> None:
        super().__init__(steps, grid, times)
        self.eta = eta

    def g2(self, model: Model, z: Tensor, t: Tensor) -> Tensor:
        """g^2 at t: [B], shaped to broadcast against z: [B, *shape]."""
        value = model.process.at(t, z)
        return model.process.squared_volatility(value, model.process.eta(t, value) if self.eta is None else self.eta)

    @abstractmethod
    def step(self, model: Model, z: Tensor, t: Tensor, s: Tensor, epsilon: Tensor) -> Tensor:
        """z_s from z_t: [B, *shape] and standard normals of that shape, for times s < t: [B], the same for all."""

    def run(self, model: Model, z: Tensor, first_id: int, seed: int) -> Draw:
        for i, (t, s) in zip(reversed(range(self.steps)), pairwise(self.times(model, z)), strict=True):
            epsilon = Stream(seed, "sample/epsilon", i).normal(first_id, len(z), model.shape, z.dtype).to(z.device)
            z = self.step(model, z, t, s, epsilon)
        return Draw(z, self.evaluations_per_step * self.steps)
