"""Activations that are computed again in the backward pass instead of kept (Chen et al., arXiv 1604.06174).

Checkpointing around a whole F(x, t) with dF/dt would have all of F's activations and tangents in the backward pass at
once. So a network says how it goes from segment to segment, and each is kept as its inputs alone: tensors, or in
`ndm.dual` values stacked with their tangents.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from ndm.dual import Stacked
from ndm.networks._base import Network

Call = Callable[..., Any]
"""call(segment, *arguments) is segment(*arguments)."""


class Segmented(Network, ABC):
    """A network that can forget between its segments what it has inside them, if `recompute` says so.

    Only in training mode and where gradients are wanted. The results are the same bits, the gradients the same up to
    the order in which those by a skip are added. torch's forward mode, inside which checkpointing raises, goes through
    it as through any other network, with everything kept.
    """

    recompute: bool

    @abstractmethod
    def walk(self, call: Call, x: Any, t: Any) -> Any:
        """The network's output, with every computation on what depends on x or t made through `call`."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.walk(_again if self._forgets(x, t) else _plain, x, t)

    def _forgets(self, *inputs: Tensor | Stacked) -> bool:
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return False
        unpack = forward_ad.unpack_dual  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        tensors = (each.pair if isinstance(each, Stacked) else each for each in inputs)
        return all(unpack(each).tangent is None for each in tensors)


def _plain(segment: Call, *arguments: Any) -> Any:
    return segment(*arguments)


def _again(segment: Call, *arguments: Any) -> Any:
    # Nothing is drawn from torch's generators, so their state need not be put back.
    return cast(Call, checkpoint)(segment, *arguments, use_reentrant=False, preserve_rng_state=False)
