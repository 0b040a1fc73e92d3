"""How each operation acts on a value with its tangent: the product and chain rules, on both at once where it is linear.

Dimensions count as they do for the value: those from the left move by one, for the pair is stacked in front.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ndm.dual import _norm, _silu
from ndm.dual._stacked import RULES, NoRule, Rule, Stacked

Operand = Stacked | Tensor | float


def rule(*functions: Any) -> Callable[[Rule], Rule]:
    """Enters a rule for these functions of torch."""

    def enter(made: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, made))
        return made

    return enter


def halves(a: Stacked) -> tuple[Tensor, Tensor]:
    """(value, tangent)"""
    value, tangent = a.pair.unbind(0)
    return value, tangent


def rank(a: Operand) -> int:
    return a.ndim if isinstance(a, Stacked | Tensor) else 0


def lifted(a: Stacked, dimensions: int) -> Tensor:
    """The pair with ones in front of the value's shape, so that values of unequal rank broadcast."""
    return a.pair if a.ndim >= dimensions else a.pair.reshape(2, *[1] * (dimensions - a.ndim), *a.shape)


def in_order(a: Operand, b: Operand) -> tuple[Stacked, Tensor | float]:
    """The one with a tangent, then the constant."""
    if isinstance(b, Stacked):
        a, b = b, a
    assert isinstance(a, Stacked)
    assert not isinstance(b, Stacked)
    return a, b


def place(dim: int) -> int:
    """A dimension of the value as one of the pair."""
    return dim + 1 if dim >= 0 else dim


# Sums and products


@rule(torch.add, Tensor.add)
def add(a: Operand, b: Operand) -> Stacked:
    """Broadcasting counts dimensions from the right, as for values."""
    n = max(rank(a), rank(b))
    if isinstance(a, Stacked) and isinstance(b, Stacked):
        return Stacked(lifted(a, n) + lifted(b, n))
    moving, constant = in_order(a, b)
    value, tangent = lifted(moving, n).unbind(0)
    value = value + constant
    return Stacked(torch.stack([value, tangent.to(value.dtype).expand_as(value)]))


@rule(torch.neg, Tensor.neg)
def neg(a: Stacked) -> Stacked:
    return Stacked(-a.pair)


@rule(torch.sub, Tensor.sub)
def sub(a: Operand, b: Operand) -> Stacked:
    if isinstance(a, Stacked) and isinstance(b, Stacked):
        n = max(a.ndim, b.ndim)
        return Stacked(lifted(a, n) - lifted(b, n))
    return add(a, neg(b) if isinstance(b, Stacked) else -b)


@rule(torch.mul, Tensor.mul)
def mul(a: Operand, b: Operand) -> Stacked:
    """(x y, u y + x w) for two that move."""
    n = max(rank(a), rank(b))
    if isinstance(a, Stacked) and isinstance(b, Stacked):
        (x, u), (y, w) = lifted(a, n), lifted(b, n)
        return Stacked(torch.stack([x * y, u * y + x * w]))
    moving, constant = in_order(a, b)
    return Stacked(lifted(moving, n) * constant)


@rule(torch.div, Tensor.div)
def div(a: Operand, b: Operand) -> Stacked:
    """By one that moves: times its reciprocal."""
    if isinstance(b, Stacked):
        return mul(RULES[torch.reciprocal](b), a)
    assert isinstance(a, Stacked)
    return Stacked(lifted(a, rank(b)) / b)


@rule(torch.matmul, Tensor.matmul)
def matmul(a: Operand, b: Operand) -> Stacked:
    """As for products; for matrices and batches of them."""
    n = max(rank(a), rank(b))
    if min(rank(a), rank(b)) < 2:
        raise NoRule("matmul of a vector has no rule for a value with its tangent")
    if isinstance(a, Stacked) and isinstance(b, Stacked):
        (x, u), (y, w) = lifted(a, n), lifted(b, n)
        return Stacked(torch.stack([x @ y, u @ y + x @ w]))
    return Stacked(lifted(a, n) @ b if isinstance(a, Stacked) else a @ lifted(b, n))  # pyright: ignore


# Layers: linear in what goes in, with weights that have no tangent


def constants(*parts: Any) -> None:
    if any(isinstance(part, Stacked) for part in parts):
        raise NoRule("A layer whose weights have a tangent has no rule")


@rule(functional.linear)
def linear(a: Stacked, weight: Tensor, bias: Tensor | None = None) -> Stacked:
    """One product for both; the bias moves the value alone."""
    constants(weight, bias)
    y = functional.linear(a.pair, weight)
    if bias is not None:
        y.add_(on_the_value(bias).reshape(2, *[1] * (a.ndim - 1), -1))
    return Stacked(y)


def convolution(of: Callable[..., Tensor]) -> Rule:
    """One convolution for both, as twice the rows; the bias moves the value alone."""

    def convolve(a: Stacked, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Stacked:
        constants(weight, bias)
        y = of(a.pair.flatten(0, 1), weight, None, *args, **kwargs)
        if bias is not None:
            rows = on_the_value(bias).repeat_interleave(len(a), dim=0)
            y.add_(rows.reshape(*rows.shape, *[1] * (y.ndim - 2)))
        return Stacked(y.reshape(2, -1, *y.shape[1:]))

    return convolve


for each in (functional.conv1d, functional.conv2d, functional.conv3d):
    RULES[each] = convolution(each)


def on_the_value(bias: Tensor) -> Tensor:
    """[2, n]: a constant has no tangent."""
    return torch.stack([bias, torch.zeros_like(bias)])


def by_rows(of: Callable[..., Tensor]) -> Rule:
    """A linear map of each row [C, ...] of a batch."""

    def apply(a: Stacked, *args: Any, **kwargs: Any) -> Stacked:
        y = of(a.pair.flatten(0, 1), *args, **kwargs)
        return Stacked(y.reshape(2, -1, *y.shape[1:]))

    return apply


for each in (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d, functional.interpolate):
    RULES[each] = by_rows(each)


# Norms, activations and attention


def chain(of: Callable[[Tensor], Tensor], slope: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Stacked], Stacked]:
    """The chain rule for an elementwise function; `slope` is its derivative, from its argument and its value."""

    def apply(a: Stacked) -> Stacked:
        x, u = halves(a)
        y = of(x)
        return Stacked(torch.stack([y, u * slope(x, y)]))

    return apply


SLOPES: dict[tuple[Any, Any], Callable[[Tensor, Tensor], Tensor]] = {
    (torch.sin, Tensor.sin): lambda x, y: torch.cos(x),
    (torch.cos, Tensor.cos): lambda x, y: -torch.sin(x),
    (torch.exp, Tensor.exp): lambda x, y: y,
    (torch.tanh, Tensor.tanh): lambda x, y: 1 - y * y,
    (torch.sigmoid, Tensor.sigmoid): lambda x, y: y * (1 - y),
    (torch.square, Tensor.square): lambda x, y: 2 * x,
    (torch.sqrt, Tensor.sqrt): lambda x, y: 0.5 / y,
    (torch.rsqrt, Tensor.rsqrt): lambda x, y: -0.5 * y * y * y,
    (torch.reciprocal, Tensor.reciprocal): lambda x, y: -y * y,
}
for functions, slope in SLOPES.items():
    rule(*functions)(chain(functions[0], slope))


@rule(functional.silu)
def silu(a: Stacked, inplace: bool = False) -> Stacked:
    if inplace:
        raise NoRule("An in-place SiLU has no rule for a value with its tangent")
    return a.with_silu() if isinstance(a, Normed) else Stacked(_silu.silu(a.pair))


@rule(functional.gelu)
def gelu(a: Stacked, *, approximate: str = "none") -> Stacked:
    """Torch's own derivative, which can be differentiated itself."""
    x, u = halves(a)
    tangent = torch.ops.aten.gelu_backward(u, x, approximate=approximate)
    return Stacked(torch.stack([functional.gelu(x, approximate=approximate), tangent]))


@rule(torch.softmax, Tensor.softmax)
def softmax(a: Stacked, dim: int) -> Stacked:
    """With y = softmax(x): dy = y (u - sum(y u))."""
    (x, u), along = halves(a), dim - a.ndim if dim >= 0 else dim
    y = torch.softmax(x, along)
    return Stacked(torch.stack([y, y * (u - (y * u).sum(along, keepdim=True))]))


class Normed(Stacked):
    """A GroupNorm that waits for the SiLU which usually follows, to be done with it in one go."""

    def __init__(self, *of: Any) -> None:
        pair = of[0]
        super().__init__(pair)  # for what it has in common with the result: shape, type and device
        self._of, self._done = of, False

    @property
    def pair(self) -> Tensor:
        if not self._done:
            self._pair, self._done = _norm.group_norm(*self._of, silu=False), True
        return self._pair

    def with_silu(self) -> Stacked:
        return Stacked(_norm.group_norm(*self._of, silu=True))


@rule(functional.group_norm)
def group_norm(
    a: Stacked, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Stacked:
    """See `_norm`; computed once it is known whether a SiLU follows."""
    constants(weight, bias)
    channels, like = a.shape[1], torch.promote_types(a.dtype, torch.float32)
    weight = torch.ones(channels, dtype=like, device=a.device) if weight is None else weight
    bias = torch.zeros(channels, dtype=like, device=a.device) if bias is None else bias
    return Normed(a.pair, num_groups, weight, bias, eps)


# Sums, and the same values in another form


def dimensions(dim: int | Sequence[int]) -> list[int]:
    return [place(d) for d in ([dim] if isinstance(dim, int) else dim)]


@rule(torch.mean, Tensor.mean)
def mean(a: Stacked, dim: int | Sequence[int], keepdim: bool = False) -> Stacked:
    return Stacked(a.pair.mean(dimensions(dim), keepdim=keepdim))


@rule(torch.sum, Tensor.sum)
def summed(a: Stacked, dim: int | Sequence[int], keepdim: bool = False) -> Stacked:
    return Stacked(a.pair.sum(dimensions(dim), keepdim=keepdim))


@rule(torch.cat)
def cat(tensors: Sequence[Stacked | Tensor], dim: int = 0) -> Stacked:
    """A constant among the parts gets a tangent of zeros."""
    pairs = [a.pair if isinstance(a, Stacked) else torch.stack([a, torch.zeros_like(a)]) for a in tensors]
    return Stacked(torch.cat(pairs, place(dim)))


def sizes(shape: Sequence[Any]) -> Sequence[int]:
    return shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape


@rule(Tensor.reshape, Tensor.view)
def reshape(a: Stacked, *shape: Any) -> Stacked:
    return Stacked(a.pair.reshape(2, *sizes(shape)))


@rule(torch.reshape)
def reshape_to(a: Stacked, shape: Sequence[int]) -> Stacked:
    return Stacked(a.pair.reshape(2, *shape))


@rule(torch.permute, Tensor.permute)
def permute(a: Stacked, *dims: Any) -> Stacked:
    return Stacked(a.pair.permute(0, *dimensions([d % a.ndim for d in sizes(dims)])))


@rule(torch.transpose, Tensor.transpose)
def transpose(a: Stacked, dim0: int, dim1: int) -> Stacked:
    return Stacked(a.pair.transpose(place(dim0), place(dim1)))


@rule(torch.flatten, Tensor.flatten)
def flatten(a: Stacked, start_dim: int = 0, end_dim: int = -1) -> Stacked:
    return Stacked(a.pair.flatten(place(start_dim), place(end_dim)))


@rule(torch.unflatten, Tensor.unflatten)
def unflatten(a: Stacked, dim: int, sizes: Sequence[int]) -> Stacked:
    pair: Any = a.pair
    return Stacked(pair.unflatten(place(dim), sizes))


@rule(torch.unsqueeze, Tensor.unsqueeze)
def unsqueeze(a: Stacked, dim: int) -> Stacked:
    return Stacked(a.pair.unsqueeze(place(dim)))


@rule(torch.chunk, Tensor.chunk)
def chunk(a: Stacked, chunks: int, dim: int = 0) -> tuple[Stacked, ...]:
    return tuple(Stacked(part) for part in a.pair.chunk(chunks, place(dim)))


@rule(torch.unbind, Tensor.unbind)
def unbind(a: Stacked, dim: int = 0) -> tuple[Stacked, ...]:
    return tuple(Stacked(part) for part in a.pair.unbind(place(dim)))


@rule(Tensor.contiguous)
def contiguous(a: Stacked) -> Stacked:
    return Stacked(a.pair.contiguous())


@rule(Tensor.to)
def to(a: Stacked, dtype: torch.dtype) -> Stacked:
    """To another type, not to another device."""
    if not isinstance(dtype, torch.dtype):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise NoRule("A move to another device has no rule for a value with its tangent")
    return Stacked(a.pair.to(dtype))


@rule(Tensor.__getitem__)
def part(a: Stacked, key: Any) -> Stacked:
    """By numbers, slices, None and dots."""
    keys: tuple[Any, ...] = key if isinstance(key, tuple) else (key,)  # pyright: ignore[reportUnknownVariableType]
    if not all(k is None or k is Ellipsis or isinstance(k, int | slice) for k in keys):
        raise NoRule("Indexing by a tensor has no rule for a value with its tangent")
    return Stacked(a.pair[(slice(None), *keys)])
