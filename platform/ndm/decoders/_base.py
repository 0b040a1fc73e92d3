"""What a decoder is: p(x | z_0), and the scale on which the data live."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Decoder(nn.Module, ABC):
    """p(x | z_0) of a process with F(x, 0) = x, and the map between stored values and model space."""

    @abstractmethod
    def encode(self, raw: Tensor) -> Tensor:
        """Stored values [B, *shape] (uint8 levels or float32) as float32 data x in model space."""

    @abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """The stored value nearest to each x: the inverse of `encode`, clamped to the valid range."""

    @abstractmethod
    def log_prob(self, x: Tensor, z_0: Tensor, alpha_0: Tensor, sigma_0: Tensor) -> Tensor:
        """ln p(x | z_0) in nats per example, shape [B]; alpha_0 and sigma_0 broadcast against z_0."""
