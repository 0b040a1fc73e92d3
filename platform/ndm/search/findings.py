"""What a search has found, as numbers: a ranking with paired errors, what each key matters, what it cost."""

import shlex
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ndm import notation
from ndm.config import WHERE, Experiment, flatten
from ndm.likelihood.statistics import Mean, mean, paired
from ndm.search.course import Course
from ndm.search.plan import BASELINE, parameters
from ndm.search.space import Dimension

SIGNIFICANT = 2.0
"""Standard errors."""


class Line(NamedTuple):
    """A point of a search, its seeds taken together. Bits are bits/dim of the validation images."""

    place: int
    label: str
    runs: tuple[str, ...]
    status: str
    """Of its trials, the one that came the furthest."""
    rung: int
    """The last that all its seeds reached, from 0; -1 for none."""
    bits: Mean | None
    """There; the error is that over images."""
    over_seeds: float | None
    """Standard deviation of the seeds' means."""
    over_best: Mean | None
    """Paired difference to the best point, for those at its rung."""
    over_baseline: Mean | None
    """The same to the baseline at that rung."""
    flops_ratio: float
    parameters: int
    evaluations: int | None
    """Of the denoiser for one sample; None where the sampler chooses them."""
    seconds: float
    """Of workers."""
    curve: tuple[tuple[int, float], ...]
    """(FLOPs spent, mean bits) at each rung."""

    @property
    def loses(self) -> bool:
        """Significantly worse than the best."""
        return self.over_best is not None and self.over_best.value > SIGNIFICANT * self.over_best.error


class Findings(NamedTuple):
    """A search's result so far."""

    lines: list[Line]
    """The best first: by the rung reached, then by bits."""
    importance: dict[str, tuple[float, int]]
    """For each dimension, the share of the variance of the first rung's bits that it explains alone, and of how many
    points."""
    spent: int
    """FLOPs."""
    full: int
    """FLOPs of all points known, had each run to its end."""
    retrain: str | None
    """The command that trains the best point with the experiment's own examples."""

    @property
    def lost_seconds(self) -> float:
        """Of workers, on points that were not the best, the baseline apart."""
        return sum(line.seconds for line in self.lines[1:] if line.place != BASELINE)


def findings(course: Course) -> Findings:
    """What the table of a search says now."""
    plan, standings = course.plan, course.standings()
    places = sorted({trial.place for trial in course.trials})
    images = {place: _images(course, place) for place in places}
    best = min(
        (place for place in places if images[place]),
        key=lambda place: (-len(images[place]), float(images[place][-1].mean()), place),
        default=None,
    )
    most = len(images[best]) if best is not None else 0
    lines: list[Line] = []
    for place in places:
        trials = [trial for trial in course.trials if trial.place == place]
        reached, point = images[place], trials[0].point
        rung = len(reached) - 1
        experiment, counted = plan.experiment(trials[0]), plan.cost(point)
        furthest = max((standings[trial.number] for trial in trials), key=lambda standing: standing.rung)
        level = [float(course.rungs(trial)[rung].bits.mean()) for trial in trials] if reached else []
        lines.append(
            Line(
                place=place,
                label=plan.name(trials[0]),
                runs=tuple(plan.run_name(trial) for trial in trials),
                status=furthest.status,
                rung=rung,
                bits=mean(reached[-1]) if reached else None,
                over_seeds=float(np.std(level, ddof=1)) if len(level) > 1 else None,
                over_best=_over(images, place, best, rung) if len(reached) == most else None,
                over_baseline=_over(images, place, BASELINE, rung) if place != BASELINE else None,
                flops_ratio=plan.flops_ratio(point),
                parameters=parameters(counted),
                evaluations=_evaluations(experiment),
                seconds=sum(r.made["seconds"] for trial in trials for r in course.rungs(trial)[trial.born :]),
                curve=tuple((plan.flops(trials[0], at), float(bits.mean())) for at, bits in enumerate(reached)),
            )
        )
    lines.sort(key=lambda line: (-line.rung, line.bits.value if line.bits else 0.0, line.place))
    return Findings(
        lines,
        _importance(course, images),
        course.spent(),
        sum(plan.flops(t, len(plan.search.pruner.shares()) - 1) - course.inherited(t) for t in course.trials),
        _retrain(course, best) if best is not None else None,
    )


def _images(course: Course, place: int) -> list[Tensor]:
    """For each rung that all seeds of a point have reached: bits of the images, mean over seeds, [n]."""
    seeds = [course.rungs(trial) for trial in course.trials if trial.place == place]
    return [torch.stack([rung.bits for rung in level]).mean(0) for level in zip(*seeds, strict=False)]


def _over(images: dict[int, list[Tensor]], place: int, other: int | None, rung: int) -> Mean | None:
    if other is None or rung < 0 or len(images[other]) <= rung:
        return None
    return paired(images[place][rung], images[other][rung])


def _evaluations(experiment: Experiment) -> int | None:
    sampler = experiment.sampler.build(getattr(experiment.objective, "steps", None))
    steps = getattr(sampler, "steps", None)
    return None if steps is None else steps * getattr(sampler, "evaluations_per_step", 1)


def _importance(course: Course, images: dict[int, list[Tensor]]) -> dict[str, tuple[float, int]]:
    """Shares of variance at the first rung, which nothing was cut before."""
    points = {t.place: t.point for t in course.trials if t.place != BASELINE and images[t.place]}
    shares: dict[str, tuple[float, int]] = {}
    for key, dimension in course.plan.search.space.items():
        having = {place: point[key] for place, point in points.items() if key in point}
        bits = np.array([float(images[place][0].mean()) for place in having])
        if len(having) > 2 and bits.var() > 0:
            fitted = _fitted(dimension, list(having.values()), bits)
            shares[key] = (float(1 - ((bits - fitted) ** 2).sum() / ((bits - bits.mean()) ** 2).sum()), len(having))
    return shares


def _fitted(dimension: Dimension, values: list[object], bits: np.ndarray) -> np.ndarray:
    """The bits that a dimension alone explains: means of groups for choices, a parabola for numbers."""
    if dimension.choice is not None:
        groups: dict[int, list[float]] = defaultdict(list)
        which = [dimension.choice.index(value) for value in values]
        for group, bit in zip(which, bits, strict=True):
            groups[group].append(float(bit))
        return np.array([np.mean(groups[group]) for group in which])
    numbers = np.array(values, dtype=float)
    if dimension.loguniform is not None:
        numbers = np.log(numbers)
    return np.polyval(np.polyfit(numbers, bits, min(2, len(set(numbers)) - 1)), numbers)


def _retrain(course: Course, place: int) -> str:
    search = course.plan.search
    point = next(trial.point for trial in course.trials if trial.place == place)
    given = {k: v for k, v in search.set.items() if k.partition(".")[0] not in WHERE} | point
    words = (f"{key}={notation.typed(value)}" for key, value in flatten(given).items())
    return shlex.join(["ndm", "train", search.experiment, *words])
