"""What a search comes to before anything runs: the experiment of every trial, its cost, and where its rungs are."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from ndm import presets
from ndm.config import Experiment
from ndm.errors import UserError
from ndm.evaluation.cost import Cost, cost_of
from ndm.randomness import Stream
from ndm.search.config import Search
from ndm.search.space import Point, draw, grid, label

SAMPLED = 100
"""Points of the space that are tried before a search begins."""
ALL = 10**6
BASELINE = 0
"""The place of the baseline, before all others."""


class Trial(NamedTuple):
    """One training of a search."""

    number: int
    """In the search, in the order of proposal; the name of its run ends with it."""
    place: int
    """Of its point in the search; BASELINE, 0, for the baseline."""
    seed: int
    point: Point
    parent: int | None = None
    """The trial from whose checkpoint it starts."""
    born: int = 0
    """The first rung that it comes to itself."""


class Plan:
    """A search, resolved.

    Raises:
        UserError: the experiment, the baseline or some point of the space is no experiment; the sentence says which.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        tree = presets.load(search.experiment).model_dump(mode="json")
        self.base = presets.lay(tree, [("scaling.workers", 1), *search.set.items()])
        if self.base.scaling.workers == "auto" or isinstance(self.base.scaling.workers, tuple):
            raise UserError("A trial has a number of workers: give scaling.workers=1, or more.")
        self._costs: dict[str, Cost] = {}
        self._check_experiment(search.baseline, "the baseline")
        self.budget = self.cost(search.baseline).step_flops * search.examples
        """FLOPs that every trial may spend."""

    @property
    def workers(self) -> int:
        """Of each trial."""
        assert isinstance(self.base.scaling.workers, int)
        return self.base.scaling.workers

    @cached_property
    def values(self) -> dict[str, Any]:
        """Dotted keys of the experiment that points are laid on."""
        return self.base.flat()

    @cached_property
    def _baseline(self) -> str:
        return self._lay(self.search.baseline, {}).digest()

    def check(self) -> None:
        """Try a hundred points of the space, or all there are, before anything runs.

        Raises:
            UserError: one is no experiment, naming it and the clash; none is within the constraints; or the compute is
                too little for its rungs.
        """
        space = self.search.space
        if all(dimension.choice is not None for dimension in space.values()):
            points = [point for _, point in zip(range(SAMPLED), grid(space, self.values), strict=False)]
        else:
            stream = Stream(0, "search check")
            points = [draw(space, self.values, stream.uniform(i, 1, (len(space),))[0].tolist()) for i in range(SAMPLED)]
        for point in points:
            self._check_experiment(point, f"the point {self.label(point)}")
        within = [point for point in points if self.allowed(point)]
        if not within:
            raise UserError(
                f"None of {len(points)} points of the space is another experiment than the baseline and within "
                f"constraints={list(self.search.constraints)}; widen the space or the constraints."
            )
        for point in (self.search.baseline, *within):
            self.stops(point)

    def allowed(self, point: Point) -> bool:
        """Whether a point is within the constraints, and another experiment than the baseline."""
        if self._lay(point, {}).digest() == self._baseline:
            return False
        if not self.search.constraints:
            return True
        counted = self.cost(point)
        return self.search.satisfied(self.flops_ratio(point), parameters(counted))

    def flops_ratio(self, point: Point) -> float:
        """A step's FLOPs over the baseline's."""
        return self.cost(point).step_flops / self.cost(self.search.baseline).step_flops

    def cost(self, point: Point) -> Cost:
        """What a step of a point costs; the optimiser's settings change nothing of it."""
        key = json.dumps({k: v for k, v in point.items() if not k.startswith("optimizer.")}, sort_keys=True)
        if key not in self._costs:
            self._costs[key] = cost_of(self._lay(point, {}))
        return self._costs[key]

    def stops(self, point: Point) -> tuple[int, ...]:
        """Examples at which a point's training comes to each rung: what its share of the compute pays for.

        Raises:
            UserError: two of them are the same batch.
        """
        batch = self._lay(point, {}).training.batch_size
        most = self.budget / self.cost(point).step_flops / batch
        stops = tuple(batch * max(round(share * most), 1) for share in self.search.pruner.shares())
        if len(set(stops)) < len(stops):
            raise UserError(
                f"examples={self.search.examples} is too little for {len(stops)} rungs of the point "
                f"{self.label(point)}: they come at {', '.join(map(str, stops))} examples; give more, or fewer "
                "pruner.rungs."
            )
        return stops

    def experiment(self, trial: Trial) -> Experiment:
        """The experiment of a trial, as `ndm train` takes it."""
        given: dict[str, Any] = {"training.examples": self.stops(trial.point)[-1], "seed": trial.seed}
        if self.search.pruner.breeds:
            given["monitor.keep"] = ALL  # a child may start from any rung
        return self._lay(trial.point, given | {"run.name": self.run_name(trial)})

    def name(self, trial: Trial) -> str:
        """A trial in a few words."""
        child = "" if trial.parent is None else f", from {trial.parent:03d} after rung {trial.born}"
        return self.label(trial.point) + child

    def label(self, point: Point) -> str:
        """A point in a few words."""
        return "baseline" if point == self.search.baseline else label(point, self.search.space)

    def run_name(self, trial: Trial) -> str:
        return f"{self.search.name}-{trial.number:03d}"

    def flops(self, trial: Trial, rung: int) -> int:
        """That a trial has spent at a rung."""
        return self.stops(trial.point)[rung] * self.cost(trial.point).step_flops

    def _lay(self, point: Point, further: Mapping[str, Any]) -> Experiment:
        return presets.lay(self.base.model_dump(mode="json"), [*point.items(), *further.items()])

    def _check_experiment(self, point: Point, what: str) -> None:
        try:
            experiment = self._lay(point, {"training.examples": self.search.examples})
            if self.search.constraints or what == "the baseline":
                self.cost(point)
        except UserError as error:
            raise UserError(f"In the search {self.search.name}, {what} is no experiment: {error}") from None
        if experiment.data != self.base.data:
            raise UserError(
                f"In the search {self.search.name}, {what} has other data; trials are compared on the same."
            )


def parameters(counted: Cost) -> int:
    """Of all networks."""
    return counted.denoiser_parameters + counted.transform_parameters + counted.schedule_parameters
