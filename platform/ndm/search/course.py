"""The course of a search: what is to run next, as a function of its plan and its table."""

from typing import NamedTuple

from ndm.search.plan import BASELINE, Plan, Trial
from ndm.search.pruners import Progress, Standing
from ndm.search.searchers import Opening, Tried
from ndm.search.space import Point
from ndm.search.table import Rung, Table


class Unit(NamedTuple):
    """What one worker does at a time: a trial's training from one rung to the next, and its score there."""

    trial: int
    rung: int


class Course:
    """Where a search is; asked again after every change of the table."""

    def __init__(self, plan: Plan, table: Table, *, looking: bool = False) -> None:
        """`looking` writes nothing: another process may be at work on the table."""
        self.plan, self.table, self._looking = plan, table, looking
        self.trials: list[Trial] = []
        self._exhausted = False
        known = table.points() or [plan.search.baseline]
        for point in known[: 1 + plan.search.trials if plan.search.pruner.breeds else None]:
            self._add(point)
        self._propose()

    def next(self, running: set[int]) -> Unit | None:
        """The unit to start beside those trials that are running; None if there is none now.

        Trials that were begun come first, so that few are half way.
        """
        self._propose()
        ready = [
            Unit(trial.number, standing.rung + 1)
            for trial, standing in zip(self.trials, self.standings(), strict=True)
            if standing.status == "ready" and trial.number not in running
        ]
        return min(ready, key=lambda unit: (-unit.rung, unit.trial), default=None)

    def over(self) -> bool:
        """Whether every trial has come to its end."""
        resting = {"stopped", "finished", "failed"}
        return self.complete() and all(standing.status in resting for standing in self.standings())

    def complete(self) -> bool:
        """Whether all points are proposed."""
        return self._exhausted or self._places() > self.plan.search.trials

    def standings(self) -> list[Standing]:
        """Where each trial stands. Seeds are apart, and the baseline is compared with nobody: it is never cut."""
        standings: dict[int, Standing] = {}
        last = len(self.plan.search.pruner.shares()) - 1
        for seed in self.plan.search.seeds:
            trials = [trial for trial in self.trials if trial.seed == seed]
            for trial in (trial for trial in trials if trial.place == BASELINE):
                rung = len(self.rungs(trial)) - 1
                failed = self.table.failure(trial.number) is not None
                status = "failed" if failed else "finished" if rung == last else "ready"
                standings[trial.number] = Standing(status, rung)
            others = [trial for trial in trials if trial.place != BASELINE]
            found = self.plan.search.pruner.standings([self._progress(trial) for trial in others], self._expected())
            standings |= {trial.number: standing for trial, standing in zip(others, found, strict=True)}
        return [standings[trial.number] for trial in self.trials]

    def rungs(self, trial: Trial) -> tuple[Rung, ...]:
        """What a trial has reached, rung by rung, the first ones by its parent if it has one."""
        inherited = () if trial.parent is None else self.rungs(self.trials[trial.parent])[: trial.born]
        return inherited + self.table.rungs(trial.number, trial.born)

    def spent(self) -> int:
        """FLOPs of what was reached."""
        return sum(
            self.plan.flops(trial, len(rungs) - 1) - self.inherited(trial)
            for trial in self.trials
            if (rungs := self.rungs(trial))
        )

    def inherited(self, trial: Trial) -> int:
        """FLOPs that went into what a trial starts from."""
        return self.plan.flops(trial, trial.born - 1) if trial.born else 0

    def _progress(self, trial: Trial) -> Progress:
        bits = tuple(rung.bits for rung in self.rungs(trial))
        return Progress(bits, self.table.failure(trial.number) is not None, trial.born)

    def _expected(self) -> int:
        """Points beside the baseline, without children."""
        proposed = sum(trial.parent is None for trial in self.trials) // len(self.plan.search.seeds) - 1
        return proposed if self._exhausted else self.plan.search.trials

    def _places(self) -> int:
        return len(self.trials) // len(self.plan.search.seeds)

    def _add(self, point: Point, parent: int | None = None, born: int = 0) -> None:
        place = self._places()
        if not self._looking:
            self.table.add(place, point)
        for seed in self.plan.search.seeds:
            self.trials.append(Trial(len(self.trials), place, seed, point, parent, born))

    def _propose(self) -> None:
        """As many points as can be proposed now."""
        search = self.plan.search
        while not self.complete() and self._ended(search.searcher.waits_for(place := self._places() - 1)):
            tried = [self._tried(earlier) for earlier in range(1, place + 1)]
            opening = Opening(place, search.space, self.plan.values, tried, self.plan.allowed)
            point = search.searcher.point(opening)
            if point is None:
                self._exhausted = True
            else:
                self._add(point)
        if search.pruner.breeds and self.complete():
            self._breed()

    def _breed(self) -> None:
        """Add the children that are due."""
        first = 1 + self._expected()
        while True:
            progress = [self._progress(trial) for trial in self.trials[1:]]
            due = self.plan.search.pruner.due(progress, self._expected())[len(self.trials) - first :]
            if not due:
                return
            for child in due:
                parent = self.trials[1 + child.parent]
                point = self.plan.search.pruner.perturbed(parent.point, self.plan.search.space, len(self.trials))
                self._add(point, parent.number, child.born)

    def _ended(self, places: int) -> bool:
        resting = {"stopped", "finished", "failed"}
        pairs = zip(self.trials, self.standings(), strict=True) if places else ()
        return all(standing.status in resting for trial, standing in pairs if 0 < trial.place <= places)

    def _tried(self, place: int) -> Tried:
        trials = [trial for trial in self.trials if trial.place == place]
        reached = [self.rungs(trial) for trial in trials]
        bits = tuple(
            sum(float(rung.bits.mean()) for rung in level) / len(level) for level in zip(*reached, strict=False)
        )
        finished = len(bits) == len(self.plan.search.pruner.shares())
        return Tried(trials[0].point, bits, finished, self.plan.flops_ratio(trials[0].point))
