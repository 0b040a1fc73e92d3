"""The commands that make a run and its scores again."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ndm import notation, presets
from ndm.config import PLACES, Experiment, Run
from ndm.evaluation import package

SHIPPED = "experiment.yaml"
"""The experiment among the artifacts that every run has."""


class Recipe(NamedTuple):
    """What `ndm evaluate` is asked for beside estimators: one command holds one of each."""

    split: str
    seed: int
    width: float | None
    """Of the average of the weights; None for the constant decay of the training."""
    tolerance: float | None
    """Of the ODE's solver; None where no ODE is solved."""

    def words(self, experiment: Experiment) -> list[str]:
        """As overrides for a run of that experiment."""
        found: dict[str, Any] = {"split": self.split}
        found |= {} if self.tolerance is None else {"tolerance": self.tolerance}
        found["evaluation.seed"] = self.seed
        if (self.width, experiment.evaluation.ema) != (None, None):
            found["evaluation.ema"] = self.width
        return [f"{key}={notation.typed(value)}" for key, value in found.items()]


def recipe(made: Mapping[str, Any]) -> Recipe:
    """That of a score: of what its table says of how it was made."""
    return Recipe(made["split"], made["seed"], (made.get("ema") or {}).get("width"), made.get("tolerance"))


def scoring(run: str, experiment: Experiment, scores: Iterable[Mapping[str, Any]]) -> list[str]:
    """ndm evaluate RUN estimator=... split=..., one command for each recipe, in the order of the scores.

    A bound has no tolerance, so it stands with the first ODE that is otherwise made like it.

    Args:
        run: its name, or that of a checkpoint, RUN@12800.
        scores: how each was made, see `recipe`, with its "estimator".
    """
    made = [(score["estimator"], recipe(score)) for score in scores]
    solved: dict[Recipe, Recipe] = {}
    for _, each in made:
        if each.tolerance is not None:
            solved.setdefault(each._replace(tolerance=None), each)
    commands: dict[Recipe, dict[str, None]] = {}
    for estimator, each in made:
        commands.setdefault(solved.get(each, each), {})[estimator] = None
    return [
        shlex.join(["ndm", "evaluate", run, f"estimator={','.join(names)}", *each.words(experiment)])
        for each, names in commands.items()
    ]


def training(experiment: Experiment, run: str) -> str:
    """ndm train PRESET key=value ..., of the preset whose name the experiment has; else of the run's own file."""
    words = overrides(experiment)
    if words is None:
        return of_file(experiment, run, SHIPPED)
    usual = experiment.model_copy(update={"run": Run()}).run_name()
    return _train(experiment, [experiment.name, *words, *([] if run == usual else [f"run.name={run}"])])


def of_file(experiment: Experiment, run: str, file: str) -> str:
    """ndm train FILE ..., of the file that holds the experiment."""
    return _train(experiment, [file, f"run.name={run}"])


def settings(experiment: Experiment) -> dict[str, Any]:
    """Dotted keys to values, without those that a reproduction chooses for itself: where it runs and is kept."""
    flat = experiment.flat()
    return {k: v for k, v in flat.items() if k.partition(".")[0] not in package.PLACES and k not in PLACES}


def of_preset(experiment: Experiment) -> dict[str, Any] | None:
    """The settings of the preset whose name it has; None where there is none."""
    return settings(presets.load(experiment.name)) if experiment.name in presets.names() else None


def overrides(experiment: Experiment) -> list[str] | None:
    """key=value, which make it of that preset; None where none do."""
    here, there = settings(experiment), of_preset(experiment)
    if there is None:
        return None
    words = [f"{k}={notation.typed(v)}" for k, v in here.items() if k not in there or there[k] != v]
    return words if settings(presets.load(experiment.name, words)) == here else None


def _train(experiment: Experiment, words: Sequence[str]) -> str:
    places = ["data.path=FOLDER"] if hasattr(experiment.data, "path") else []
    return shlex.join(["ndm", "train", *words, *places])
