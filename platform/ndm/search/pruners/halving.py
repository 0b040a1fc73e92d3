"""Successive halving: a rung is decided when every trial has reached it.

Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization (arXiv 1502.07943),
with rungs of compute, and nothing cut that is not significantly worse. Cheaper than `asha`, which cannot know of
better trials to come, but workers may wait for the last trial of a rung.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor

from ndm.search.pruners._base import Halving, Verdict, kept


class Config(Halving):
    """All trials are compared with all."""

    needs_all: ClassVar[bool] = True
    kind: Literal["halving"]

    def verdict(self, trial: int, rung: int, reached: Mapping[int, Tensor], coming: Sequence[int]) -> Verdict:
        del rung
        if coming:
            return "wait"
        return "go" if kept(trial, reached, self.eta, self.margin) else "stop"
