"""What a pruner is, and where every trial stands by it.

A trial rests at each rung until its verdict. The verdict is a function of what was reached, never of when: the same
command after a crash, or with other workers, cuts the same trials.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from ndm.likelihood.statistics import paired
from ndm.registry import Config

Verdict = Literal["go", "stop", "wait"]
Status = Literal["ready", "waiting", "stopped", "finished", "failed"]


class Progress(NamedTuple):
    """What a trial has reached."""

    bits: tuple[Tensor, ...]
    """For each rung, bits/dim of the same validation images, [n]."""
    failed: bool


class Standing(NamedTuple):
    """Where a trial is: `ready` for its next rung, or at rest, or at its end."""

    status: Status
    rung: int
    """The last one reached; -1 before the first."""


class Pruner(Config, ABC):
    """Cuts trials at rungs of compute."""

    @abstractmethod
    def shares(self) -> tuple[float, ...]:
        """The compute at each rung, as a share of the whole; ascending, the last is 1."""

    @abstractmethod
    def verdict(self, trial: int, reached: Mapping[int, Tensor], coming: Sequence[int]) -> Verdict:
        """Whether a trial that has reached a rung goes on.

        Args:
            trial: its index.
            reached: bits/dim of the images for each trial that has reached this rung, this one among them.
            coming: the trials that may still reach it.
        """

    def standings(self, trials: Sequence[Progress], expected: int) -> list[Standing]:
        """Where each trial stands, in their order; `expected` is how many there will be."""
        rungs = len(self.shares())
        standings = [Standing("failed" if trial.failed else "ready", len(trial.bits) - 1) for trial in trials]
        possible = list(range(expected))  # those that may come to a rung, or have
        for rung in range(rungs):
            reached = {k: trials[k].bits[rung] for k in possible if k < len(trials) and len(trials[k].bits) > rung}
            coming = [k for k in possible if k not in reached and not (k < len(trials) and trials[k].failed)]
            beyond: list[int] = []
            for k in reached:
                verdict = self.verdict(k, reached, coming) if rung < rungs - 1 else "stop"
                if standings[k].rung > rung:  # it was let go on when there were fewer trials
                    verdict = "go"
                if verdict != "stop":
                    beyond.append(k)
                if standings[k].rung == rung and not trials[k].failed:
                    ended: Status = "finished" if rung == rungs - 1 else "stopped"
                    now: dict[Verdict, Status] = {"go": "ready", "wait": "waiting", "stop": ended}
                    standings[k] = Standing(now[verdict], rung)
            possible = sorted({*beyond, *coming})
        return standings


class Halving(Pruner, ABC):
    """Rungs at which the best 1 / eta go on, each of eta times the compute of the one before."""

    rungs: int = Field(default=3, ge=2, le=10)
    """The last is the whole compute."""
    eta: int = Field(default=4, ge=2)
    margin: float = Field(default=2.0, ge=0)
    """Standard errors of a difference within which nothing is cut."""

    def shares(self) -> tuple[float, ...]:
        return tuple(float(self.eta) ** (rung + 1 - self.rungs) for rung in range(self.rungs))


def kept(trial: int, reached: Mapping[int, Tensor], eta: int, margin: float) -> bool:
    """Whether a trial is among the best 1 / eta, at least one, or worse than the last of them only within the noise.

    The noise is `margin` standard errors of the paired difference over the images, which have the same draws for both.
    """
    ranking = sorted(reached, key=lambda k: (float(reached[k].mean()), k))
    best = ranking[: max(1, len(ranking) // eta)]
    if trial in best:
        return True
    difference = paired(reached[trial], reached[best[-1]])
    return difference.value <= margin * difference.error
