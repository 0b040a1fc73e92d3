"""Asynchronous successive halving, in the order of the trials.

Li et al., A System for Massively Parallel Hyperparameter Tuning (arXiv 1810.05934), algorithm 2, with three changes:
rungs are counted in compute; a trial is compared with those before it in the search, not with those that happened
to come before it in time; and what is not significantly worse is not cut.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from ndm.search.pruners._base import Halving, Verdict, kept


class Config(Halving):
    """A trial waits at a rung only for trials before it that may still come there."""

    kind: Literal["asha"] = "asha"

    def verdict(self, trial: int, rung: int, reached: Mapping[int, Tensor], coming: Sequence[int]) -> Verdict:
        del rung
        if any(other < trial for other in coming):
            return "wait"
        before = {k: bits for k, bits in reached.items() if k <= trial}
        return "go" if kept(trial, before, self.eta, self.margin) else "stop"
