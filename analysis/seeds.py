"""Runs that repeat one experiment with other seeds, and what their curves have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from analysis.run import Run, labels


@dataclass(frozen=True)
class Repeated:
    """Runs of one experiment that differ in nothing but `seed`."""

    label: str
    runs: Sequence[Run]


@dataclass(frozen=True)
class Band:
    """A metric over runs at the examples seen that all of them recorded, [N] each."""

    examples: Tensor
    mean: Tensor
    low: Tensor
    """The least of the runs."""
    high: Tensor
    """The most of the runs."""


def repeated(runs: Sequence[Run]) -> list[Repeated]:
    """The runs by experiment, in the order of their first; recorded in another rhythm is another group."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(sorted(_same(run).items())), []).append(run)
    found = list(groups.values())
    names = labels([group[0] for group in found])
    return [
        Repeated(f"{name} ({len(group)} seeds)" if len(group) > 1 else name, group)
        for name, group in zip(names, found, strict=True)
    ]


def band(runs: Sequence[Run], metric: str) -> Band | None:
    """Mean, least and most of a metric over runs; None if there are no examples at which all recorded it."""
    curves = [
        dict(zip(*(part.tolist() for part in run.curves[metric]), strict=True)) for run in runs if metric in run.curves
    ]
    shared = sorted(set.intersection(*map(set, curves))) if len(curves) == len(runs) else []
    if not shared:
        return None
    values = torch.tensor([[curve[at] for at in shared] for curve in curves], dtype=torch.float64)
    return Band(torch.tensor(shared), values.mean(0), values.amin(0), values.amax(0))


def _same(run: Run) -> dict[str, Any]:
    """What runs of one group agree in: all that decides the result but the seed, and how it was recorded."""
    deciding = run.experiment.flat(deciding=True)
    recorded = {key: value for key, value in run.experiment.flat().items() if key.startswith("monitor.")}
    return {key: value for key, value in deciding.items() if key not in ("name", "seed")} | recorded
