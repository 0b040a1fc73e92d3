"""g^2 = eta sigma^2 gamma' with one fixed eta: 1 is the volatility of DDPM and VDM."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ndm import registry
from ndm.schedules import ScheduleValue
from ndm.transforms import Transform
from ndm.volatilities._base import Volatility


class Config(registry.Config):
    kind: Literal["constant"] = "constant"
    eta: float = Field(default=1.0, gt=0, examples=[0.5])
    """g^2 in units of sigma^2 gamma'; in discrete time at most 1."""

    def build(self, transform: Transform, shape: tuple[int, ...]) -> "Constant":
        del transform, shape
        return Constant(self.eta)


class Constant(Volatility):
    def __init__(self, eta: float) -> None:
        super().__init__()
        self.eta = eta

    def forward(self, t: Tensor, value: ScheduleValue) -> Tensor:
        del t
        return torch.full_like(value.gamma, self.eta)
