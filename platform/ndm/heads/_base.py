"""What a head is: how the output of the denoising network becomes the estimate x_hat(z_t, t) of the data."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ndm.schedules import ScheduleValue


class Head(nn.Module, ABC):
    """x_hat from a network output. `value` is the schedule at t, already shaped to broadcast against z."""

    @abstractmethod
    def forward(self, output: Tensor, z: Tensor, value: ScheduleValue) -> Tensor:
        """x_hat of shape [B, *shape], from the network's output and the latent z_t, both [B, *shape]."""
