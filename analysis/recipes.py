"""The commands that make a run and its scores again."""

import shlex

from analysis.run import Run
from ndm import notation, presets
from ndm.config import Experiment

SHIPPED = "experiment.yaml"
"""The artifact that every run has."""


def trained(experiment: Experiment) -> str:
    """ndm train PRESET key=value ..., of the preset whose name the experiment has; else of the run's own file."""
    if experiment.name in presets.names():
        before, wanted = presets.load(experiment.name).flat(deciding=True), experiment.flat(deciding=True)
        changed = [f"{key}={notation.typed(value)}" for key, value in wanted.items() if before.get(key, ...) != value]
        if presets.load(experiment.name, changed).digest() == experiment.digest():
            return shlex.join(["ndm", "train", experiment.name, *changed])
    return f"ndm train {SHIPPED}"


def scored(run: Run, split: str = "test") -> str | None:
    """ndm evaluate RUN ... with all estimators that the run's newest weights were scored by; None if there are none."""
    found = [score for score in run.scores if score.split == split and score.label == score.estimator]
    if not found:
        return None
    words = [f"estimator={','.join(score.estimator for score in found)}"]
    words += [f"split={split}"] if split != run.experiment.evaluation.split else []
    seeds = {score.made["seed"] for score in found}
    words += [f"evaluation.seed={seed}" for seed in seeds if seed != run.experiment.evaluation.seed]
    tolerances = {score.made["tolerance"] for score in found if "tolerance" in score.made}
    words += [f"tolerance={value:g}" for value in tolerances if value != run.experiment.evaluation.tolerance]
    return shlex.join(["ndm", "evaluate", run.name, *words])
