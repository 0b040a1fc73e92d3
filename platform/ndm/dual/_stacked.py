"""The pair that travels through a network in place of a tensor, and the table of what may be done to it."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor

Rule = Callable[..., Any]
RULES: dict[Any, Rule] = {}
"""By the function that torch would run."""


class NoRule(NotImplementedError):
    """The operation named in the message cannot be done to a value with its tangent."""


class Stacked:
    """A tensor of some shape with its tangent of the same shape: `pair`, [2, *shape].

    Torch's functions, methods and operators on it go to RULES; whatever is not listed there raises NoRule, so that no
    tangent is ever lost. In-place updates and decisions by value are not listed.
    """

    def __init__(self, pair: Tensor) -> None:
        self._pair = pair
        self.graph = torch.is_grad_enabled()

    @property
    def pair(self) -> Tensor:
        """[2, *shape]: the value, then the tangent."""
        return self._pair

    @property
    def shape(self) -> torch.Size:
        """Of the value."""
        return self._pair.shape[1:]

    @property
    def ndim(self) -> int:
        """Of the value."""
        return self._pair.ndim - 1

    @property
    def dtype(self) -> torch.dtype:
        """Of both."""
        return self._pair.dtype

    @property
    def device(self) -> torch.device:
        """Of both."""
        return self._pair.device

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator["Stacked"]:
        return iter(_run(Tensor.unbind, self))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        method = getattr(Tensor, name, None)
        if not callable(method):
            raise NoRule(f"{name} of a tensor has no rule for a value with its tangent")
        return partial(_run, method, self)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        return _run(function, *args, **(kwargs or {}))

    def __add__(self, other: Any) -> Any:
        return _run(Tensor.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return _run(Tensor.add, self, other)

    def __sub__(self, other: Any) -> Any:
        return _run(Tensor.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _run(Tensor.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return _run(Tensor.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return _run(Tensor.mul, self, other)

    def __truediv__(self, other: Any) -> Any:
        return _run(Tensor.div, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _run(Tensor.div, other, self)

    def __matmul__(self, other: Any) -> Any:
        return _run(Tensor.matmul, self, other)

    def __neg__(self) -> Any:
        return _run(Tensor.neg, self)

    def __getitem__(self, key: Any) -> Any:
        return _run(Tensor.__getitem__, self, key)

    def _refuse(self, *others: Any) -> NoReturn:
        del others
        raise NoRule("A decision by value, an in-place update or a power has no rule for a value with its tangent")

    # Python would find an answer of its own to each of these: a truth by length, equality by identity, x = x + y.
    __bool__ = __float__ = __int__ = __index__ = __array__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _refuse
    __iadd__ = __isub__ = __imul__ = __itruediv__ = __imatmul__ = __setitem__ = _refuse
    __pow__ = __rpow__ = __floordiv__ = __mod__ = __abs__ = _refuse
    __hash__ = None  # pyright: ignore[reportAssignmentType]


def _run(function: Any, *args: Any, **kwargs: Any) -> Any:
    rule = RULES.get(function)
    if rule is None:
        raise NoRule(f"{getattr(function, '__name__', function)} has no rule for a value with its tangent")
    for arg in args:
        # Inside what builds no graph, such as a custom autograd.Function, gradients would be lost.
        if isinstance(arg, Stacked) and arg.graph is not torch.is_grad_enabled():
            raise NoRule("A change between graph and no graph has no rule for a value with its tangent")
    try:
        return rule(*args, **kwargs)
    except TypeError as error:
        try:
            inspect.signature(rule).bind(*args, **kwargs)
        except TypeError:  # an argument that the rule does not know
            raise NoRule(f"{error}: no rule for a value with its tangent") from None
        raise
