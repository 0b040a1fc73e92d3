"""Prediction of tau alone, all that the reverse SDE at the process's own volatility needs: by v-prediction,

tau_hat = (1 + eta) / 2 (alpha z - sigma v_hat) / (alpha^2 + sigma^2),

which for F = identity is x-prediction times (1 + eta) / 2, as it should be. The best estimate is E[tau | z_t]. No pair
(F, dF/dt) can be had from it, so the model has no probability-flow ODE, hence no ODE likelihood.
"""

from typing import Literal

from torch import Tensor

from ndm import registry
from ndm.heads._base import DriftHead
from ndm.heads.v import V
from ndm.schedules import ScheduleValue


class Config(registry.Config):
    kind: Literal["drift"] = "drift"

    def build(self) -> "Drift":
        return Drift()


class Drift(DriftHead):
    def __init__(self) -> None:
        super().__init__()
        self.v = V()

    def forward(self, output: Tensor, z: Tensor, value: ScheduleValue, eta: Tensor) -> Tensor:
        return (1 + eta) / 2 * self.v(output, z, value)
