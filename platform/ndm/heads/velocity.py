"""Velocity prediction: the network's output is eps_hat - x_hat, so x_hat = (z - sigma output) / (alpha + sigma).

Lipman et al., Flow Matching for Generative Modeling (arXiv 2210.02747), with the optimal-transport path: under the
schedule `straight` the output is their regressed vector field, turned round since time runs towards the noise here, and
the velocity of the ODE is tau' times it. Under any other schedule it is another well-conditioned target.
"""

from typing import Literal

from torch import Tensor

from ndm import registry
from ndm.heads._base import DataHead
from ndm.schedules import ScheduleValue


class Config(registry.Config):
    kind: Literal["velocity"] = "velocity"

    def build(self) -> "Velocity":
        return Velocity()


class Velocity(DataHead):
    def forward(self, output: Tensor, z: Tensor, value: ScheduleValue) -> Tensor:
        return (z - value.sigma * output) / (value.alpha + value.sigma)
