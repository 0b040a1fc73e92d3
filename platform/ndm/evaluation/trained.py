"""A trained objective, from the newest good checkpoint of a run."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from ndm.build import build_objective
from ndm.config import Experiment
from ndm.data.manifest import Manifest
from ndm.errors import UserError
from ndm.evaluation.averages import averaged
from ndm.objectives import Objective
from ndm.runs import RunFolder
from ndm.training import checkpoint


class Trained(NamedTuple):
    """An objective with the averaged weights, in evaluation mode, and how many examples it has seen."""

    objective: Objective
    position: int
    made: dict[str, Any]
    """How the weights were averaged, for the record of a number; empty for the constant decay of the training."""


def load(folder: RunFolder, experiment: Experiment, manifest: Manifest, path: Path | None = None) -> Trained:
    """Load the averaged weights of the newest checkpoint that is good, or of the one at `path`.

    They are averaged with the constant decay of the training, or with the relative width `evaluation.ema`.

    Raises:
        UserError: there is no checkpoint, it is damaged, or it is of another experiment or other data, or the width
            that is asked for cannot be had.
    """
    found = _read(folder, path) if path else checkpoint.latest(folder.checkpoints)
    if found is None:
        raise UserError(
            f"The run {folder.name} has no usable checkpoint yet; train it with: ndm train {experiment.name}"
        )
    check(found, folder, experiment, manifest)
    objective = build_objective(experiment, manifest.shape, manifest.levels).requires_grad_(False).eval()
    objective.load_state_dict(found.tensors["ema"])
    if (width := experiment.evaluation.ema) is None:
        return Trained(objective, found.position, {})
    average = averaged(folder, found, width)
    weights = dict(objective.named_parameters())
    assert weights.keys() == average.parameters.keys()
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(average.parameters[name])
    return Trained(objective, found.position, {"ema": average.about})


def _read(folder: RunFolder, path: Path) -> checkpoint.Checkpoint:
    try:
        return checkpoint.read(path)
    except checkpoint.Broken as error:
        raise UserError(f"The checkpoint {folder.name}/{path.name} cannot be used: {error}.") from None


def check(found: checkpoint.Checkpoint, folder: RunFolder, experiment: Experiment, manifest: Manifest) -> None:
    """Refuse a checkpoint that was not made by this experiment on these data.

    Raises:
        UserError: naming what differs.
    """
    for what, here in (("experiment", experiment.digest()), ("data", manifest.hash)):
        there = found.meta.get(what, "")
        if there != here:
            raise UserError(
                f"The checkpoint {found.path.name} of the run {folder.name} belongs to other {what} (hash {there[:8]}, "
                f"here {here[:8]}); choose another run.name, or start afresh with --fresh."
            )
