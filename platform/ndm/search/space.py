"""The space of a search: dimensions over dotted keys, some only where others have a value."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Self

from pydantic import Field, model_validator

from ndm.config import flatten
from ndm.registry import Config

Point = dict[str, Any]
"""Dimension -> its value; what a point lays on the base experiment."""


class Dimension(Config):
    """The values of one dotted key, or of a whole section: exactly one of the four."""

    choice: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """Plain values, or mappings that stand for the keys below this one."""
    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    """Uniform in the logarithm."""
    integers: tuple[int, int] | None = None
    """From the first to the last, which is one of them."""
    when: dict[str, Any] = {}  # noqa: RUF012
    """Dotted keys and the value (or list of values) they must have for this dimension to be there."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("choice", "uniform", "loguniform", "integers") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("one of choice, uniform, loguniform and integers")
        if given != ["choice"]:
            low, high = getattr(self, given[0])
            if not low < high or (given == ["loguniform"] and low <= 0):
                above = " above 0" if given == ["loguniform"] else ""
                raise ValueError(f"{given[0]}: [least, most]{above}, not {[low, high]}")
        return self

    def at(self, u: float) -> Any:
        """The value at the quantile u in (0, 1)."""
        if self.choice is not None:
            return self.choice[min(int(u * len(self.choice)), len(self.choice) - 1)]
        if self.integers is not None:
            low, high = self.integers
            return min(low + int(u * (high - low + 1)), high)
        if self.uniform is not None:
            low, high = self.uniform
            return low + u * (high - low)
        assert self.loguniform is not None
        low, high = (math.log(end) for end in self.loguniform)
        return math.exp(low + u * (high - low))

    def within(self, value: float) -> Any:
        """The value of a range that is nearest to another one."""
        low, high = self.integers or self.uniform or self.loguniform or (value, value)
        nearest = min(max(value, low), high)
        return round(nearest) if self.integers else nearest

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether the keys of `when` have what it asks for; a key that is not there has nothing."""
        return all(
            values.get(key) in wanted if isinstance(wanted, list) else key in values and values[key] == wanted
            for key, wanted in self.when.items()
        )


Space = dict[str, Dimension]


def keys_of(point: Point) -> dict[str, Any]:
    """A point as dotted keys with plain values."""
    return {
        k: v
        for key, value in point.items()
        for k, v in (flatten(value, f"{key}.") if isinstance(value, dict) else {key: value}).items()
    }


def draw(space: Space, base: Mapping[str, Any], quantiles: Sequence[float]) -> Point:
    """The point at one quantile for each dimension, in their order; what `when` leaves out changes no other."""
    point: Point = {}
    for (key, dimension), u in zip(space.items(), quantiles, strict=True):
        if dimension.applies({**base, **keys_of(point)}):
            point[key] = dimension.at(u)
    return point


def grid(space: Space, base: Mapping[str, Any]) -> Iterator[Point]:
    """Every point of a space of choices once, the last dimension the fastest."""
    seen: list[Point] = []
    for values in product(*(dimension.choice or () for dimension in space.values())):
        point: Point = {}
        for (key, dimension), value in zip(space.items(), values, strict=True):
            if dimension.applies({**base, **keys_of(point)}):
                point[key] = value
        if point not in seen:  # a dimension that is left out makes twins
            seen.append(point)
            yield point


def label(point: Point, space: Space) -> str:
    """A point in a few words: the last part of each key and its value; of a section its kind, and so much more as tells
    it from the other choices of that kind."""
    return ", ".join(
        _section(value, space.get(key)) if isinstance(value, dict) else f"{key.rpartition('.')[2]} {_said(value)}"
        for key, value in point.items()
    )


def _section(value: dict[str, Any], dimension: Dimension | None) -> str:
    kind, choices = value.get("kind"), dimension.choice or () if dimension else ()
    leaves, alike = flatten(value), [flatten(v) for v in choices if isinstance(v, dict) and v.get("kind") == kind]
    told = [k for k in leaves if k != "kind" and any(other.get(k) != leaves[k] for other in alike)]
    told = told if kind else list(leaves)
    return " ".join([*([kind] if kind else []), *(f"{k.rpartition('.')[2]} {_said(leaves[k])}" for k in told)])


def _said(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
