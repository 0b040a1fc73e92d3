"""A function together with its derivative along given tangents, in one pass over both at once.

Value and derivative are stacked, [value; tangent], so that every convolution and every matrix product runs once on
twice the rows, and no product with the zero tangent of a weight is formed. torch.func.jvp forms those products and
differentiates norms and activations operation by operation, which costs a training step about 1.6 times as much
(`benchmarks/ndm_step.py`). Gradients flow through both halves.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ndm.dual import _rules as _rules  # fills the table of rules
from ndm.dual._stacked import NoRule as NoRule
from ndm.dual._stacked import Stacked as Stacked

log = logging.getLogger("ndm.dual")
_told: set[str] = set()


def jvp(
    f: Callable[..., Tensor], primals: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """(f(*primals), its derivative along the tangents), both of the value's shape.

    A primal whose tangent is None is a constant: what depends on constants alone is computed without a tangent.

    An operation that has no rule here sends the whole of f through torch.func.jvp: exact too, but slower, as a warning
    says once. f must be made for that mode then: no fused attention, no in-place updates.
    """
    try:
        return stacked(f, primals, tangents)
    except NoRule as missing:
        if str(missing) not in _told:
            _told.add(str(missing))
            log.warning("%s; torch.func.jvp takes over, which takes longer.", missing)
    return forward_mode(f, primals, tangents)


def stacked(
    f: Callable[..., Tensor], primals: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """`jvp` by the rules of this package alone.

    Raises:
        NoRule: f does what there is no rule for.
    """
    y: Any = f(
        *(
            primal if tangent is None else Stacked(torch.stack([primal, tangent]))
            for primal, tangent in zip(primals, tangents, strict=True)
        )
    )
    if not isinstance(y, Stacked):
        return y, torch.zeros_like(y)
    value, derivative = y.pair.unbind(0)
    return value, derivative


def forward_mode(
    f: Callable[..., Tensor], primals: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """`jvp` by torch.func.jvp alone."""
    moving = [i for i, tangent in enumerate(tangents) if tangent is not None]

    def along(*values: Tensor) -> Tensor:
        given = list(primals)
        for i, value in zip(moving, values, strict=True):
            given[i] = value
        return f(*given)

    # Forward mode refuses an expanded primal, whose elements share one place in memory.
    at = tuple(primals[i].contiguous() for i in moving)
    return torch.func.jvp(along, at, tuple(tangent for tangent in tangents if tangent is not None))[:2]
