"""Random search: independent draws from the space, no point twice."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ndm.config import Seed
from ndm.randomness import Stream
from ndm.search.searchers._base import Searcher, Tried
from ndm.search.space import Point, Space, draw

ATTEMPTS = 1000


class Config(Searcher):
    """Every point is a function of the seed and its place, and of the points before only in that it is another one."""

    kind: Literal["random"] = "random"
    seed: Seed = 0

    def point(
        self,
        place: int,
        space: Space,
        base: Mapping[str, Any],
        before: Sequence[Tried],
        allowed: Callable[[Point], bool],
    ) -> Point | None:
        quantiles = Stream(self.seed, "search", place)
        known = [tried.point for tried in before]
        for attempt in range(ATTEMPTS):
            point = draw(space, base, quantiles.uniform(attempt, 1, (len(space),))[0].tolist())
            if point not in known and allowed(point):
                return point
        return None
