"""F(x, t) = A_t x + v_t, A_t = I + sum_k b_k(t) M_k and v_t = sum_k b_k(t) v_k, k = 1..degree, b_k of `ndm.legendre`.

The M_k are learned full matrices over the flattened dimensions, the v_k learned vectors. Since b_k(0) = 0, F(x, 0) = x.
One product with the stacked M_k gives F at every time together with dF/dt. The volatility at which the bound is tight
is a matrix; a scalar g leaves a gap unless A_t is a multiple of I.
"""

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ndm import registry
from ndm.errors import UserError
from ndm.legendre import legendre
from ndm.transforms._base import Transform

MOST_DIMENSIONS = 1024
"""At degree 4 that is four million weights; the matrices grow with the square."""


class Config(registry.Config):
    kind: Literal["linear"] = "linear"
    degree: int = Field(4, ge=1, examples=[1])
    """Degree of F in t, and the number of matrices."""

    def build(self, shape: tuple[int, ...]) -> "Linear":
        if prod(shape) > MOST_DIMENSIONS:
            raise UserError(
                f"kind linear holds full matrices and takes at most {MOST_DIMENSIONS} dimensions, not {prod(shape)}; "
                "use kind scale with per=dimension, or kind residual with a network"
            )
        return Linear(prod(shape), self.degree)


class Linear(Transform):
    """The identity at the start: all M_k and v_k are zero."""

    def __init__(self, size: int, degree: int) -> None:
        super().__init__()
        self.degree = degree
        self.terms = nn.Linear(size, degree * size)
        for parameter in self.terms.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.path(x, [t])[0]

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        terms, (b, d_b) = self.products(x), legendre(t, self.degree)
        return x + torch.einsum("kb,bk...->b...", b, terms), torch.einsum("kb,bk...->b...", d_b, terms)

    def path(self, x: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        terms = self.products(x)
        return [x + torch.einsum("kb,bk...->b...", legendre(t, self.degree)[0], terms) for t in times]

    def products(self, x: Tensor) -> Tensor:
        """M_k x + v_k for k = 1..degree: [B, degree, *shape]."""
        return self.terms(x.flatten(1)).reshape(len(x), self.degree, *x.shape[1:])
