"""What a head is: how the output of the denoising network becomes the model's estimate.

There are three kinds. An estimate of the data, x_hat, goes through the transform, F(x_hat, t), as in the paper. An
estimate of the pair (F, dF/dt) stands for the transform's two values directly: no x_hat need give the averages of F and
of dF/dt at once, so the pair can come nearer to the best drift; what F is has to be learned. An estimate of tau, the
one combination that the reverse drift at the process's own eta needs, is the least that the bound asks for; it gives
neither the probability-flow ODE nor another volatility.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from ndm.schedules import ScheduleValue


class Head(nn.Module, ABC):
    """`value` is the schedule at t, shaped to broadcast against z_t: [B, *shape]."""

    outputs: ClassVar[int] = 1
    """Arrays of the data's shape that the network gives, joined along dimension 1."""


class DataHead(Head, ABC):
    """Estimates the data, by x_hat."""

    @abstractmethod
    def forward(self, output: Tensor, z: Tensor, value: ScheduleValue) -> Tensor:
        """x_hat of shape [B, *shape], from the network's output and the latent z_t."""


class PairHead(Head, ABC):
    """Estimates F and dF/dt."""

    @abstractmethod
    def forward(self, output: Tensor, z: Tensor, value: ScheduleValue) -> tuple[Tensor, Tensor]:
        """Estimates of F(x, t) and dF/dt, each [B, *shape]."""


class DriftHead(Head, ABC):
    """Estimates the reverse drift, by tau."""

    @abstractmethod
    def forward(self, output: Tensor, z: Tensor, value: ScheduleValue, eta: Tensor) -> Tensor:
        """Estimate of tau at the process's own eta, [B, *shape]."""
