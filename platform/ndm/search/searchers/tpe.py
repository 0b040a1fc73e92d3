"""The tree-structured Parzen estimator, as Optuna has it.

    Bergstra et al., Algorithms for Hyper-Parameter Optimization (NeurIPS 2011), section 4.

Points are proposed in generations: those of one know what all points of the generations before it reached, however
many run at a time, so that the same search proposes the same points again. Trials that were cut count with what they
reached. With `cost` as an objective beside the bits it looks for the front of both.
"""

import hashlib
import warnings
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from pydantic import Field

from ndm.config import Seed
from ndm.search.pruners import Pruner
from ndm.search.searchers._base import Opening, Searcher, Tried
from ndm.search.space import Dimension, Point, Space, keys_of

ATTEMPTS = 100


class Config(Searcher):
    """The first generation is random."""

    kind: Literal["tpe"]
    seed: Seed = 0
    generation: int = Field(default=8, gt=0)
    """Points that are proposed together."""
    objectives: tuple[Literal["bits", "cost"], ...] = ("bits",)
    """cost: FLOPs of a step."""

    def check(self, space: Space, pruner: Pruner) -> None:
        del space
        kind = getattr(pruner, "kind", "")
        if pruner.needs_all:
            raise ValueError(
                f"searcher.kind=tpe proposes points while others run; pruner.kind={kind} needs all at once"
            )
        if self.objectives not in (("bits",), ("bits", "cost")):
            raise ValueError(f"searcher.objectives={list(self.objectives)} must be [bits] or [bits,cost]")
        if len(self.objectives) > 1 and kind != "none":
            raise ValueError(
                "searcher.objectives=[bits,cost] needs pruner.kind=none: what is cut has no place on a front"
            )

    def waits_for(self, place: int) -> int:
        return place // self.generation * self.generation

    def point(self, opening: Opening) -> Point | None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space, known = opening.space, self.waits_for(opening.place)
        digest = hashlib.sha256(f"{self.seed} {opening.place}".encode()).digest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of `group`: conditional spaces
            sampler = optuna.samplers.TPESampler(
                seed=int.from_bytes(digest[:4], "big"),
                n_startup_trials=self.generation,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
        directions: list[Literal["minimize", "maximize"]] = ["minimize" for _ in self.objectives]
        study = optuna.create_study(sampler=sampler, directions=directions)
        study.add_trials([self._told(tried, space, ended=i < known) for i, tried in enumerate(opening.before)])
        points = [tried.point for tried in opening.before]
        for _ in range(ATTEMPTS):
            trial = study.ask()
            point: Point = {}
            for key, dimension in space.items():
                if dimension.applies({**opening.base, **keys_of(point)}):
                    point[key] = _ask(trial, key, dimension)
            if point not in points and opening.allowed(point):
                return point
            study.tell(trial, state=TrialState.FAIL)
        return None

    def _told(self, tried: Tried, space: Space, *, ended: bool) -> FrozenTrial:
        """A point as Optuna knows it."""
        asked = {key: space[key] for key in tried.point}
        about: dict[str, Any] = {
            "params": {key: _parameter(dimension, tried.point[key]) for key, dimension in asked.items()},
            "distributions": {key: _distribution(dimension) for key, dimension in asked.items()},
        }
        if not ended:
            return create_trial(state=TrialState.RUNNING, **about)
        if not tried.bits:
            return create_trial(state=TrialState.FAIL, **about)
        if len(self.objectives) > 1:
            if not tried.finished:
                return create_trial(state=TrialState.FAIL, **about)
            return create_trial(values=[tried.bits[-1], tried.flops_ratio], **about)
        about["intermediate_values"] = dict(enumerate(tried.bits))
        if tried.finished:
            return create_trial(value=tried.bits[-1], **about)
        return create_trial(state=TrialState.PRUNED, **about)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.choice is not None:
        return CategoricalDistribution(range(len(dimension.choice)))
    if dimension.integers is not None:
        return IntDistribution(*dimension.integers)
    if dimension.uniform is not None:
        return FloatDistribution(*dimension.uniform)
    assert dimension.loguniform is not None
    return FloatDistribution(*dimension.loguniform, log=True)


def _ask(trial: Trial, key: str, dimension: Dimension) -> Any:
    """A value of the dimension; a choice is known to Optuna by its number."""
    distribution = _distribution(dimension)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(key, distribution.low, distribution.high)
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)
    assert dimension.choice is not None
    return dimension.choice[trial.suggest_categorical(key, range(len(dimension.choice)))]


def _parameter(dimension: Dimension, value: Any) -> Any:
    """A value as Optuna knows it."""
    return value if dimension.choice is None else dimension.choice.index(value)
