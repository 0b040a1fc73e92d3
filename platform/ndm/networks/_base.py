"""What a network is here: a time-conditioned map between arrays, safe under forward-mode differentiation in t."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ndm import dual
from ndm.errors import UserError


class Network(nn.Module, ABC):
    """A map [B, *shape] x [B] -> [B, outputs * shape[0], *shape[1:]].

    Its derivative in t is taken by `ndm.dual`, which has rules for common layers and operations. A network that uses
    others must work under torch.func.jvp, with gradients through the result: no fused attention kernels (their forward
    mode is missing), no in-place updates, no batch statistics. The output layer starts at zero.
    """

    products: torch.dtype | None = None
    """The narrower type that convolutions and matrix products are formed in, if any. Weights, input, output and the
    statistics of norms keep theirs. Set for training alone, see `ndm.training.numerics`."""

    def __call__(self, x: Tensor, t: Tensor) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """`forward`, in the precision chosen.

        Raises:
            UserError: a narrower type inside torch.func.jvp, which cannot carry a tangent through it.
        """
        if self.products is None:
            return super().__call__(x, t)
        if torch._C._are_functorch_transforms_active():  # pyright: ignore
            raise UserError(
                f"training.precision=bf16 cannot differentiate {type(self).__name__} in time: it uses an operation "
                "without a rule in ndm.dual; give training.precision=fp32, or use other operations"
            )
        with torch.autocast(x.device.type, self.products):
            y = super().__call__(x, t)
        return y.to(x.dtype)

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: [B, *shape], t: [B] in [0, 1]; a network built with timed=False ignores t."""

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The output and its time derivative at fixed x, in one pass, see `ndm.dual`."""
        return dual.jvp(self, (x, t), (None, torch.ones_like(t)))
