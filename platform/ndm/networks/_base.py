"""What a network is here: a time-conditioned map between arrays, safe under forward-mode differentiation in t."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """A map [B, *shape] x [B] -> [B, outputs * shape[0], *shape[1:]].

    Its derivative in t is taken by `ndm.dual`, which has rules for common layers and operations. A network that uses
    others must work under torch.func.jvp, with gradients through the result: no fused attention kernels (their forward
    mode is missing), no in-place updates, no batch statistics. The output layer starts at zero.
    """

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: [B, *shape], t: [B] in [0, 1]; a network built with timed=False ignores t."""
