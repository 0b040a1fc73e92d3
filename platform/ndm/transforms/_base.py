"""What a transform is: F_phi(x, t) in q(z_t | x) = N(alpha_t F_phi(x, t), sigma_t^2 I), with dF/dt.

Bartosh, Vetrov, Naesseth, Neural Diffusion Models (arXiv 2310.08337). Every transform here satisfies F(x, 0) = x
exactly, so that p(x | z_0) stays the plain decoder and the reconstruction term does not depend on phi.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ndm import dual


class Transform(nn.Module, ABC):
    """F(x, t), its partial time derivative at fixed x, and F at several times at once."""

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """F(x, t), shape of x: [B, *shape]; t has shape [B]."""

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(F(x, t), dF/dt(x, t)), both of x's shape.

        One pass over both, `ndm.dual`; a transform whose derivative has a closed form overrides it. Gradients flow
        through both, to x and to the parameters.
        """
        return dual.jvp(self, (x, t), (None, torch.ones_like(t)))

    def path(self, x: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        """[F(x, t) for t in times], in one evaluation of the network on the concatenated batch."""
        n = len(times)
        values = self(x.repeat(n, *[1] * (x.ndim - 1)), torch.cat(list(times)))
        return list(values.chunk(n))
