"""Noise prediction: x_hat = (z - sigma eps_hat) / alpha.

Ho, Jain, Abbeel, Denoising Diffusion Probabilistic Models (arXiv 2006.11239), section 3.2. Well conditioned
near t = 0, where x_hat = z / alpha to within sigma / alpha. Near t = 1 an error of the network reaches x_hat
multiplied by sigma / alpha = e^(gamma/2): 12 at gamma = 5, 148 at gamma = 10.
"""

from typing import Literal

from torch import Tensor

from ndm import registry
from ndm.heads._base import DataHead
from ndm.schedules import ScheduleValue


class Config(registry.Config):
    kind: Literal["epsilon"] = "epsilon"

    def build(self) -> "Epsilon":
        return Epsilon()


class Epsilon(DataHead):
    def forward(self, output: Tensor, z: Tensor, value: ScheduleValue) -> Tensor:
        return (z - value.sigma * output) / value.alpha
