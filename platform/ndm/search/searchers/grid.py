"""Grid search: every combination of a space of choices once, the last dimension the fastest."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from ndm.search.pruners import Pruner
from ndm.search.searchers._base import Searcher, Tried
from ndm.search.space import Point, Space, grid


class Config(Searcher):
    """Dimensions are choices."""

    kind: Literal["grid"]

    def check(self, space: Space, pruner: Pruner) -> None:
        del pruner
        if other := [key for key, dimension in space.items() if dimension.choice is None]:
            raise ValueError(f"searcher.kind=grid needs choice: [...] for {', '.join(other)}")

    def point(
        self,
        place: int,
        space: Space,
        base: Mapping[str, Any],
        before: Sequence[Tried],
        allowed: Callable[[Point], bool],
    ) -> Point | None:
        del before
        return next(islice(filter(allowed, grid(space, base)), place, None), None)
