"""v-prediction: x_hat = (alpha z - sigma v_hat) / (alpha^2 + sigma^2).

Salimans and Ho, Progressive Distillation (arXiv 2202.00512), section 4, extended to schedules that do not preserve
variance. Well conditioned at both ends of time: x_hat = z / alpha near t = 0 and -v_hat / sigma near t = 1.
"""

from typing import Literal

from torch import Tensor

from ndm import registry
from ndm.heads._base import DataHead
from ndm.schedules import ScheduleValue


class Config(registry.Config):
    kind: Literal["v"] = "v"

    def build(self) -> "V":
        return V()


class V(DataHead):
    def forward(self, output: Tensor, z: Tensor, value: ScheduleValue) -> Tensor:
        return (value.alpha * z - value.sigma * output) / (value.alpha**2 + value.sigma**2)
