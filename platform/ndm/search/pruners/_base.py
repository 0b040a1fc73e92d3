"""What a pruner is, and where every trial stands by it.

A trial rests at each rung until its verdict. The verdict is a function of what was reached, never of when: the same
command after a crash, or with other workers, cuts the same trials.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from ndm.likelihood.statistics import paired
from ndm.registry import Config
from ndm.search.space import Point, Space

Verdict = Literal["go", "stop", "wait"]
Status = Literal["ready", "waiting", "stopped", "finished", "failed"]


class Progress(NamedTuple):
    """What a trial has reached."""

    bits: tuple[Tensor, ...]
    """For each rung, bits/dim of the same validation images, [n]."""
    failed: bool
    born: int = 0
    """The first rung that it comes to itself; those before are its parent's."""


class Child(NamedTuple):
    """A trial that starts where another one was."""

    parent: int
    born: int


class Standing(NamedTuple):
    """Where a trial is: `ready` for its next rung, or at rest, or at its end."""

    status: Status
    rung: int
    """The last one reached; -1 before the first."""


class Pruner(Config, ABC):
    """Cuts trials at rungs of compute."""

    needs_all: ClassVar[bool] = False
    """A verdict knows all trials of the search."""
    breeds: ClassVar[bool] = False
    """Rungs bring children."""

    @abstractmethod
    def shares(self) -> tuple[float, ...]:
        """The compute at each rung, as a share of the whole; ascending, the last is 1."""

    @abstractmethod
    def verdict(self, trial: int, rung: int, reached: Mapping[int, Tensor], coming: Sequence[int]) -> Verdict:
        """Whether a trial that has reached a rung goes on.

        Args:
            trial: its index.
            rung: that rung, not the last.
            reached: bits/dim of the images for each trial that has reached this rung, this one among them.
            coming: the trials that may still reach it.
        """

    def check(self, space: Space) -> None:
        """Refuse a space that it cannot work with.

        Raises:
            ValueError: saying why.
        """
        del space

    def children(self, rung: int, reached: Mapping[int, Tensor]) -> list[Child]:
        """The trials that come out of a rung that is decided, in the order in which they are added."""
        del rung, reached
        return []

    def perturbed(self, point: Point, space: Space, number: int) -> Point:
        """The point of child `number`: its parent's, changed or not."""
        del space, number
        return point

    def standings(self, trials: Sequence[Progress], expected: int) -> list[Standing]:
        """Where each trial stands, in their order; `expected` is how many there will be, children apart."""
        return self._walk(trials, expected)[0]

    def due(self, trials: Sequence[Progress], expected: int) -> list[Child]:
        """All children that the rungs which are decided have brought, in their order."""
        return self._walk(trials, expected)[1]

    def _walk(self, trials: Sequence[Progress], expected: int) -> tuple[list[Standing], list[Child]]:
        """Rung by rung."""
        rungs, born = len(self.shares()), list[Child]()
        standings = [Standing("failed" if trial.failed else "ready", len(trial.bits) - 1) for trial in trials]
        possible = list(range(expected))  # those that may come to a rung, or have
        for rung in range(rungs):
            possible += [k for k in range(expected, len(trials)) if trials[k].born == rung]
            reached = {k: trials[k].bits[rung] for k in possible if k < len(trials) and len(trials[k].bits) > rung}
            coming = [k for k in possible if k not in reached and not (k < len(trials) and trials[k].failed)]
            beyond: list[int] = []
            for k in reached:
                verdict = self.verdict(k, rung, reached, coming) if rung < rungs - 1 else "stop"
                if standings[k].rung > rung:  # it was let go on when there were fewer trials
                    verdict = "go"
                if verdict != "stop":
                    beyond.append(k)
                if standings[k].rung == rung and not trials[k].failed:
                    ended: Status = "finished" if rung == rungs - 1 else "stopped"
                    now: dict[Verdict, Status] = {"go": "ready", "wait": "waiting", "stop": ended}
                    standings[k] = Standing(now[verdict], rung)
            if rung < rungs - 1 and reached and not coming:
                born += self.children(rung, reached)
            possible = sorted({*beyond, *coming})
        return standings, born


class Halving(Pruner, ABC):
    """Rungs at which the best 1 / eta go on, each of eta times the compute of the one before."""

    rungs: int = Field(default=3, ge=2, le=10)
    """The last is the whole compute."""
    eta: int = Field(default=4, ge=2)
    margin: float = Field(default=2.0, ge=0)
    """Standard errors of a difference within which nothing is cut."""

    def shares(self) -> tuple[float, ...]:
        return tuple(float(self.eta) ** (rung + 1 - self.rungs) for rung in range(self.rungs))


def ranked(reached: Mapping[int, Tensor]) -> list[int]:
    """Trials from the best to the worst."""
    return sorted(reached, key=lambda k: (float(reached[k].mean()), k))


def kept(trial: int, reached: Mapping[int, Tensor], eta: int, margin: float) -> bool:
    """Whether a trial is among the best 1 / eta, at least one, or worse than the last of them only within the noise.

    The noise is `margin` standard errors of the paired difference over the images, which have the same draws for both.
    """
    ranking = ranked(reached)
    best = ranking[: max(1, len(ranking) // eta)]
    if trial in best:
        return True
    difference = paired(reached[trial], reached[best[-1]])
    return difference.value <= margin * difference.error
