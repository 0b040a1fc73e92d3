"""Population-based training: at every rung the worst are replaced by copies of the best with other rates.

    Jaderberg et al., Population Based Training of Neural Networks (arXiv 1711.09846), section 3, with truncation
    selection: the worst 1 / eta copy the weights, the averages and the optimiser's moments of the best 1 / eta and
    perturb what they were given of `optimizer.*` by a factor of 0.8 or 1.25, within its dimension.

A copy is a trial of its own, which starts from another one's checkpoint at a rung.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from ndm.config import Seed
from ndm.randomness import Stream
from ndm.search.pruners._base import Child, Pruner, Verdict, ranked
from ndm.search.space import Dimension, Point, Space

FACTORS = (0.8, 1.25)
PERTURBED = "optimizer."


class Config(Pruner):
    """The population is `trials`; every rung waits for all of it."""

    needs_all: ClassVar[bool] = True
    breeds: ClassVar[bool] = True
    kind: Literal["population"]
    rungs: int = Field(default=4, ge=2, le=100)
    """Of equal compute."""
    eta: int = Field(default=4, ge=2)
    seed: Seed = 0

    def shares(self) -> tuple[float, ...]:
        return tuple((rung + 1) / self.rungs for rung in range(self.rungs))

    def check(self, space: Space) -> None:
        if not any(key.startswith(PERTURBED) and _numeric(dimension) for key, dimension in space.items()):
            raise ValueError(
                "pruner.kind=population has nothing to perturb: give a range to a key such as optimizer.lr"
            )

    def verdict(self, trial: int, rung: int, reached: Mapping[int, Tensor], coming: Sequence[int]) -> Verdict:
        del rung
        if coming:
            return "wait"
        worst = ranked(reached)[len(reached) - self._moved(len(reached)) :]
        return "stop" if trial in worst else "go"

    def children(self, rung: int, reached: Mapping[int, Tensor]) -> list[Child]:
        ranking, moved = ranked(reached), self._moved(len(reached))
        return [Child(parent, rung + 1) for parent in ranking[:moved]]

    def perturbed(self, point: Point, space: Space, number: int) -> Point:
        changed = dict(point)
        for i, key in enumerate(point):
            dimension = space.get(key)
            if dimension is not None and key.startswith(PERTURBED) and _numeric(dimension):
                up = Stream(self.seed, "population", number).uniform(i, 1).item() > 0.5
                changed[key] = dimension.within(point[key] * FACTORS[up])
        return changed

    def _moved(self, size: int) -> int:
        return size // self.eta


def _numeric(dimension: Dimension) -> bool:
    return dimension.choice is None
