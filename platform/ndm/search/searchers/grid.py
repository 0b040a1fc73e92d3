"""Grid search: every combination of a space of choices once, the last dimension the fastest."""

from itertools import islice
from typing import Literal

from ndm.search.pruners import Pruner
from ndm.search.searchers._base import Opening, Searcher
from ndm.search.space import Point, Space, grid


class Config(Searcher):
    """Dimensions are choices."""

    kind: Literal["grid"]

    def check(self, space: Space, pruner: Pruner) -> None:
        del pruner
        if other := [key for key, dimension in space.items() if dimension.choice is None]:
            raise ValueError(f"searcher.kind=grid needs choice: [...] for {', '.join(other)}")

    def point(self, opening: Opening) -> Point | None:
        points = filter(opening.allowed, grid(opening.space, opening.base))
        return next(islice(points, opening.place, None), None)
