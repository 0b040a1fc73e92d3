"""A trained objective, from the newest good checkpoint of a run."""

from typing import Any, NamedTuple

import torch

from ndm.build import build_objective
from ndm.config import Experiment
from ndm.data.manifest import Manifest
from ndm.errors import UserError
from ndm.evaluation.averages import averaged
from ndm.objectives import Objective
from ndm.training import checkpoint
from ndm.training.checkpoint import Home


class Trained(NamedTuple):
    """An objective with the averaged weights, in evaluation mode, and how many examples it has seen."""

    objective: Objective
    position: int
    made: dict[str, Any]
    """How the weights were averaged, for the record of a number; empty for the constant decay of the training."""


def load(home: Home, experiment: Experiment, manifest: Manifest, name: str | None = None) -> Trained:
    """Load the averaged weights of the newest checkpoint in `home` that is good, or of the one that is named.

    They are averaged with the constant decay of the training, or with the relative width `evaluation.ema`.

    Raises:
        UserError: there is no checkpoint, it is damaged, or it is of another experiment or other data, or the width
            that is asked for cannot be had.
    """
    found = _read(home, name) if name else checkpoint.latest(home)
    if found is None:
        raise UserError(f"There is no usable checkpoint in {home} yet; train with: ndm train {experiment.name}")
    check(found, home, experiment, manifest)
    objective = build_objective(experiment, manifest.shape, manifest.levels).requires_grad_(False).eval()
    try:
        objective.load_state_dict(found.tensors["ema"])
    except (KeyError, RuntimeError):
        raise UserError(
            f"The checkpoint {found.name} in {home} does not hold the weights of this experiment; train it again."
        ) from None
    if (width := experiment.evaluation.ema) is None:
        return Trained(objective, found.position, {})
    average = averaged(home, found, width)
    weights = dict(objective.named_parameters())
    assert weights.keys() == average.parameters.keys()
    with torch.no_grad():
        for key, weight in weights.items():
            weight.copy_(average.parameters[key])
    return Trained(objective, found.position, {"ema": average.about})


def _read(home: Home, name: str) -> checkpoint.Checkpoint:
    try:
        return checkpoint.read(home, name)
    except checkpoint.Broken as error:
        raise UserError(f"The checkpoint {name} in {home} cannot be used: {error}.") from None


def check(found: checkpoint.Checkpoint, home: Home, experiment: Experiment, manifest: Manifest) -> None:
    """Refuse a checkpoint that was not made by this experiment on these data.

    Raises:
        UserError: naming what differs.
    """
    for what, here in (("experiment", experiment.digest()), ("data", manifest.hash)):
        there = str(found.meta.get(what, ""))
        if there != here:
            raise UserError(
                f"The checkpoint {found.name} in {home} belongs to other {what} (hash {there[:8]}, here {here[:8]}); "
                "choose another run.name, or start afresh with --fresh."
            )
