"""What a network is here: a time-conditioned map between arrays, safe under forward-mode differentiation in t."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Network(nn.Module, ABC):
    """A map [B, *shape] x [B] -> [B, outputs * shape[0], *shape[1:]].

    It must work under torch.func.jvp with a tangent in t, with gradients through the result: no fused attention
    kernels (their forward mode is missing), no in-place updates, no batch statistics. The output layer starts at zero.
    """

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: [B, *shape], t: [B] in [0, 1]; a network built with timed=False ignores t."""

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The output and its time derivative at fixed x, by one forward-mode product, in one pass with the value."""

        def at(time: Tensor) -> Tensor:
            return self(x, time)

        t = t.contiguous()  # forward mode refuses an expanded t, whose elements share one place in memory
        return torch.func.jvp(at, (t,), (torch.ones_like(t),))[:2]
