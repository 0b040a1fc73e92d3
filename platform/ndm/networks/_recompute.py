"""Activations that are computed again in the backward pass instead of kept (Chen et al., arXiv 1604.06174).

torch's checkpointing raises inside forward-mode differentiation, and around a whole F(x, t) with dF/dt the backward
pass would have all of F's activations and tangents at once. So a network says how it goes from segment to segment, and
each is kept as its inputs alone: checkpointed as it is, or as the forward-mode product of that one segment.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from ndm.networks._base import Network

Call = Callable[..., Any]
"""call(segment, *arguments) is segment(*arguments), of tensors or, in the walk of a dual, also of `Dual`s."""


class Dual(NamedTuple):
    """A value and its time derivative, of one shape."""

    value: Tensor
    tangent: Tensor


class Segmented(Network, ABC):
    """A network that can forget between its segments what it has inside them, if `recompute` says so.

    Only in training mode and where gradients are wanted. The results are the same bits, the gradients too but for the
    order of sums in a `dual`. Forward mode from outside goes through it as through any other network, with everything
    kept.
    """

    recompute: bool

    @abstractmethod
    def walk(self, call: Call, x: Any, t: Any) -> Any:
        """The network's output, with every computation on what depends on x or t made through `call`."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.walk(_again if self._forgets(x, t) else _plain, x, t)

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        if not self._forgets(x, t):
            return super().dual(x, t)
        found = self.walk(_dual_again, x, Dual(t.contiguous(), torch.ones_like(t)))
        return (found.value, found.tangent) if isinstance(found, Dual) else (found, torch.zeros_like(found))

    def _forgets(self, *inputs: Tensor) -> bool:
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return False
        unpack = forward_ad.unpack_dual  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return all(unpack(each).tangent is None for each in inputs)


def _plain(segment: Call, *arguments: Any) -> Any:
    return segment(*arguments)


def _again(segment: Call, *arguments: Any) -> Any:
    # Nothing is drawn from torch's generators, so their state need not be put back.
    return cast(Call, checkpoint)(segment, *arguments, use_reentrant=False, preserve_rng_state=False)


def _dual_again(segment: Call, *arguments: Any) -> Any:
    """The segment's value and tangent, the product made again in the backward pass; arguments that are no `Dual` have
    no tangent, and a segment without any `Dual` has none either."""
    moving = [i for i, each in enumerate(arguments) if isinstance(each, Dual)]
    values = [each.value if isinstance(each, Dual) else each for each in arguments]
    if not moving:
        return _again(segment, *values)

    def product(values: list[Any], tangents: list[Tensor]) -> Any:
        def at(*moved: Tensor) -> Tensor:
            given = dict(zip(moving, moved, strict=True))
            return segment(*(given.get(i, value) for i, value in enumerate(values)))

        return torch.func.jvp(at, tuple(values[i] for i in moving), tuple(tangents))[:2]

    return Dual(*_again(product, values, [arguments[i].tangent for i in moving]))
