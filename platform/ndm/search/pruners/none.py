"""No pruning: every trial runs to its end."""

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from ndm.search.pruners._base import Pruner, Verdict


class Config(Pruner):
    """One rung, at the end."""

    kind: Literal["none"]

    def shares(self) -> tuple[float, ...]:
        return (1.0,)

    def verdict(self, trial: int, rung: int, reached: Mapping[int, Tensor], coming: Sequence[int]) -> Verdict:
        del trial, rung, reached, coming
        raise AssertionError("there is no rung before the end")
