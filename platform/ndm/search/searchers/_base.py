"""What a searcher is: it says which point comes at a place of the search.

A point is a function of its place and of what all trials of earlier generations reached, so that a search that was
killed goes on with the same points.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ndm.registry import Config
from ndm.search.pruners import Pruner
from ndm.search.space import Point, Space


class Tried(NamedTuple):
    """An earlier point and what is known of it."""

    point: Point
    bits: tuple[float, ...]
    """Mean over seeds of the validation bound at each rung that all of them reached, bits/dim."""
    finished: bool
    """It reached the end."""
    flops_ratio: float
    """A step's FLOPs over the baseline's."""


class Opening(NamedTuple):
    """A place of a search for which a point is wanted."""

    place: int
    """Counted from 0."""
    space: Space
    base: Mapping[str, Any]
    """Dotted keys of the experiment that points are laid on."""
    before: Sequence[Tried]
    """All points proposed before; of the first `waits_for(place)` it is known what they reached."""
    allowed: Callable[[Point], bool]
    """Whether a point is within the constraints."""


class Searcher(Config, ABC):
    """Proposes points."""

    def check(self, space: Space, pruner: Pruner) -> None:
        """Refuse a space or a pruner that it cannot work with.

        Raises:
            ValueError: saying why.
        """
        del space, pruner

    def waits_for(self, place: int) -> int:
        """How many points, from the first, must have ended before the one at `place` can be proposed."""
        del place
        return 0

    @abstractmethod
    def point(self, opening: Opening) -> Point | None:
        """The point for an opening; None if there are no more."""
