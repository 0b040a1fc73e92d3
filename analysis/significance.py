"""Is a difference of two runs more than chance: Student's paired t test, corrected for the number of comparisons."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats
from torch import Tensor

from ndm.likelihood.statistics import Interval, Mean, paired

LEVEL = 0.05
"""Of the chance to see a difference in any comparison of a table where there is none."""


class Difference(NamedTuple):
    """Of a run to its baseline, over the same images."""

    mean: Mean
    interval: Interval
    """Holds the true difference with probability 1 - LEVEL, if it were the only comparison."""
    p: float
    """Of a mean that is so far from 0 or further, were the true one 0; of this comparison alone."""

    @property
    def turned(self) -> "Difference":
        """The baseline less the other."""
        low, high = self.interval
        return Difference(Mean(0.0 - self.mean.value, self.mean.error), Interval(0.0 - high, 0.0 - low), self.p)


def difference(values: Tensor, baseline: Tensor) -> Difference:
    """values - baseline, shape [N] each, by Student's t with N - 1 degrees of freedom (Biometrika, 1908).

    The images are taken for independent draws. Where no image differs, p is 1.
    """
    found = paired(values, baseline)
    if found == (0.0, 0.0):
        return Difference(found, Interval(0.0, 0.0), 1.0)
    if found.error == 0:  # all differ by the same
        return Difference(found, Interval(found.value, found.value), 0.0)
    test = stats.ttest_rel(values.double().numpy(), baseline.double().numpy())
    low, high = test.confidence_interval(1 - LEVEL)
    return Difference(found, Interval(float(low), float(high)), float(test.pvalue))


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for their number, in the same order: S. Holm, Scandinavian Journal of Statistics (1979).

    To call those at or below LEVEL differences errs in any of them with a probability of at most LEVEL, however they
    depend on each other. NaN, of a test that could not be made, counts as none.
    """
    order = sorted((i for i in range(len(p)) if not math.isnan(p[i])), key=lambda i: p[i])
    adjusted, largest = list(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def shown(p: float) -> str:
    """0.012, or < 0.0001; nothing where there was no test."""
    return "" if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def verdict(change: Mean, adjusted: float) -> str:
    """What a corrected test says of a difference: lower, higher, or that it does not tell."""
    return ("lower" if change.value < 0 else "higher") if adjusted <= LEVEL else "unclear"
