"""Random search: independent draws from the space, no point twice."""

from typing import Literal

from ndm.config import Seed
from ndm.randomness import Stream
from ndm.search.searchers._base import Opening, Searcher
from ndm.search.space import Point, draw

ATTEMPTS = 1000


class Config(Searcher):
    """Every point is a function of the seed and its place, and of the points before only in that it is another one."""

    kind: Literal["random"] = "random"
    seed: Seed = 0

    def point(self, opening: Opening) -> Point | None:
        space, quantiles = opening.space, Stream(self.seed, "search", opening.place)
        known = [tried.point for tried in opening.before]
        for attempt in range(ATTEMPTS):
            point = draw(space, opening.base, quantiles.uniform(attempt, 1, (len(space),))[0].tolist())
            if point not in known and opening.allowed(point):
                return point
        return None
