"""HyperBand: successive halving in brackets, of which some begin to cut later.

Li et al., Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization (JMLR 18, 2018), algorithm 1, with
rungs of compute, and nothing cut that is not significantly worse. How early a curve tells its end is not known before
the search: the first bracket cuts at every rung, the last at none, and brackets take about the same compute.
"""

from bisect import bisect
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate
from math import ceil
from typing import ClassVar, Literal

from torch import Tensor

from ndm.search.pruners._base import Halving, Verdict, kept


class Config(Halving):
    """A trial is compared with those of its bracket, when all of them have come."""

    needs_all: ClassVar[bool] = True
    kind: Literal["hyperband"]

    def sizes(self) -> list[int]:
        """Trials of each bracket in a whole round of them; bracket b begins to cut at rung b."""
        left = range(self.rungs, 0, -1)
        return [ceil(self.rungs / rungs * self.eta ** (rungs - 1)) for rungs in left]

    def bracket(self, trial: int) -> int:
        """Where a trial belongs: however many there are, brackets share them in the ratio of their sizes.

        Trials are dealt by the sequence of van der Corput (1935), whose first n points are even in [0, 1) for every n.
        """
        return _dealt(trial, tuple(accumulate(self.sizes())))

    def verdict(self, trial: int, rung: int, reached: Mapping[int, Tensor], coming: Sequence[int]) -> Verdict:
        own = self.bracket(trial)
        if rung < own:
            return "go"
        if any(self.bracket(other) == own for other in coming):
            return "wait"
        beside = {k: bits for k, bits in reached.items() if self.bracket(k) == own}
        return "go" if kept(trial, beside, self.eta, self.margin) else "stop"


@cache
def _dealt(trial: int, ends: tuple[int, ...]) -> int:
    digits = f"{trial:b}"
    return bisect(ends, int(digits[::-1], 2) / 2 ** len(digits) * ends[-1])
