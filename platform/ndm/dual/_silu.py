"""SiLU of a value with its tangent: silu(x) = x s, s = sigmoid(x); silu'(x) = s + x s (1 - s).

In its own function for autograd the pair that comes in is all that is kept for the backward pass, where

g_u = silu'(x) g_du, g_x = silu'(x) g_y + silu''(x) u g_du, silu''(x) = s (1 - s) (2 + x (1 - 2 s)).

Where that function cannot be used (see `plain`), the same is done operation by operation.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu as silu_of_tensor

SLOPE: Callable[[Tensor, Tensor], Tensor] = torch.ops.aten.silu_backward  # (g, x) -> silu'(x) g


def plain() -> bool:
    """Whether to do without functions of our own: inside a transform of torch.func, and under torch.compile."""
    return torch._C._are_functorch_transforms_active() or torch.compiler.is_compiling()  # pyright: ignore


def silu(pair: Tensor) -> Tensor:
    """[2, *shape] to the same."""
    return silu_composed(pair) if plain() else _kept_small(pair)


def silu_composed(pair: Tensor) -> Tensor:
    """The same, operation by operation."""
    x, u = pair.unbind(0)
    s = torch.sigmoid(x)
    y = x * s
    return torch.stack([y, u * (s + y * (1 - s))])


def curvature(x: Tensor) -> Tensor:
    """silu''(x), in one new array."""
    s = torch.sigmoid(x)
    q = torch.addcmul(s, s, s, value=-1)
    return s.mul_(-2).add_(1).mul_(x).add_(2).mul_(q)


class _Silu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pair: Tensor) -> Tensor:
        ctx.save_for_backward(pair)
        x, u = pair
        return torch.stack([silu_of_tensor(x), SLOPE(u, x)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        pair: Tensor = ctx.saved_tensors[0]
        if torch.is_grad_enabled():  # a graph of the gradient is asked for
            found: tuple[Tensor, ...] = torch.autograd.grad(silu_composed(pair), pair, grad, create_graph=True)
            return found[0]
        (x, u), (g_y, g_du) = pair, grad
        g_x = SLOPE(g_y, x).add_(curvature(x).mul_(u).mul_(g_du))
        return torch.stack([g_x, SLOPE(g_du, x)])


_kept_small: Callable[[Tensor], Tensor] = _Silu.apply  # pyright: ignore
