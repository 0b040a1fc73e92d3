"""GroupNorm, alone or with the SiLU behind it, of a value with its tangent.

With r = 1 / sqrt(var(x) + eps) and x_ = r (x - mean(x)), means over a group, and with the symmetric derivative of x_,
J u = r (u - mean(u) - x_ mean(x_ u)), and the activation a,

y = W x_ + b, dy = W J u, out = a(y), d_out = a'(y) dy.

The backward pass, by hand, from (g, g_d) at (out, d_out), with g_y = a'(y) g + a''(y) dy g_d, g_dy = a'(y) g_d and
h = W g_dy:

g_u = J h, g_x = J [W g_y - r (h mean(x_ u) + u mean(x_ h))] - r x_ mean(h J u),
g_W = sum(g_y x_ + g_dy J u), g_b = sum(g_y).

J is torch's own backward kernel of the norm. Only the pair that comes in is kept; operation by operation, autograd
keeps more than ten arrays of its size. Statistics are in float32 or better.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu as silu_of_tensor

from ndm.dual._silu import SLOPE, curvature, plain, silu_composed

NARROW = (torch.bfloat16, torch.float16)


def group_norm(pair: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, *, silu: bool) -> Tensor:
    """[2, B, C, *] to the same; weight and bias: [C]."""
    flat = pair.reshape(*pair.shape[:3], -1)
    if plain():
        out = _composed(flat, groups, weight, bias, eps)
        out = silu_composed(out) if silu else out
    else:
        out = _kept_small(flat, weight, bias, groups, eps, silu)
    return out.reshape(pair.shape)


def _composed(pair: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    x, u = _wide(pair).reshape(*pair.shape[:2], groups, -1, pair.shape[3]).unbind(0)

    def mean(a: Tensor) -> Tensor:
        return a.mean((2, 3), keepdim=True)  # over a group: [B, groups, C / groups, n]

    centred = x - mean(x)
    r = (mean(centred * centred) + eps).rsqrt()
    x_ = centred * r
    w, b = (a.reshape(groups, -1, 1) for a in (weight, bias))
    y, d_y = x_ * w + b, r * (u - mean(u) - x_ * mean(x_ * u)) * w
    return torch.stack([y, d_y]).flatten(2, 3).to(pair.dtype)


def _wide(a: Tensor) -> Tensor:
    return a.float() if a.dtype in NARROW else a


class _Kernels:
    """x_ of one x: [B, C, n], and products with J."""

    normal: Tensor
    mean: Tensor
    r: Tensor

    def __init__(self, x: Tensor, groups: int, eps: float) -> None:
        self.x, self.sizes = x, (x.shape[0], x.shape[1], x.shape[2], groups)
        self.normal, self.mean, self.r = torch.native_group_norm(x, None, None, *self.sizes, eps)

    def product(self, u: Tensor) -> Tensor:
        """J u"""
        only = [True, False, False]
        return torch.ops.aten.native_group_norm_backward(u, self.x, self.mean, self.r, None, *self.sizes, only)[0]


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pair: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
        ctx.save_for_backward(pair, weight, bias)
        ctx.keys = groups, eps, silu
        x, u = _wide(pair).contiguous()
        of = _Kernels(x, groups, eps)
        w, b = weight[:, None], bias[:, None]
        y, d_y = torch.addcmul(b, of.normal, w), of.product(u).mul_(w)
        out = torch.empty_like(pair)
        out[0], out[1] = (silu_of_tensor(y), SLOPE(d_y, y)) if silu else (y, d_y)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        pair, weight, bias = ctx.saved_tensors
        groups, eps, silu = ctx.keys
        if torch.is_grad_enabled():  # a graph of the gradient is asked for
            out = _composed(pair, groups, weight, bias, eps)
            asked = [a for a, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False) if needed]
            found = iter(torch.autograd.grad(silu_composed(out) if silu else out, asked, grad, create_graph=True))
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None, None
        x, u = _wide(pair).contiguous()
        g_y, g_dy = _wide(grad).contiguous()
        of, apiece = _Kernels(x, groups, eps), x.shape[1] // groups
        w, b = weight[:, None], bias[:, None]
        d_x = of.product(u)
        if silu:
            y = torch.addcmul(b, of.normal, w)
            bend = curvature(y).mul_(d_x).mul_(w).mul_(g_dy)
            g_y, g_dy = SLOPE(g_y, y).add_(bend), SLOPE(g_dy, y)

        def sums(a: Tensor, c: Tensor) -> Tensor:
            return (a * c).sum(2)  # [B, C]

        def mean(a: Tensor) -> Tensor:
            return a.reshape(-1, groups, apiece).sum(2) / (apiece * of.sizes[2])  # [B, groups], from such sums

        def spread(a: Tensor) -> Tensor:
            return a.repeat_interleave(apiece, 1)[:, :, None]

        s_y, s_normal, s_slope = sums(g_y, of.normal), sums(g_dy, of.normal), sums(g_dy, d_x)
        g_weight, g_bias = (s_y + s_slope).sum(0), g_y.sum((0, 2))
        h, a = g_dy * w, g_y * w
        a.addcmul_(h, spread(of.r * mean(sums(of.normal, u))), value=-1)
        a.addcmul_(u, spread(of.r * mean(s_normal * weight)), value=-1)
        g_x = of.product(a).addcmul_(of.normal, spread(of.r * mean(s_slope * weight)), value=-1)
        return torch.stack([g_x, of.product(h)]).to(pair.dtype), g_weight, g_bias, None, None, None


_kept_small: Callable[..., Tensor] = _GroupNorm.apply  # pyright: ignore
