"""A trained objective, from the newest good checkpoint of a run."""

from pathlib import Path
from typing import NamedTuple

from ndm.build import build_objective
from ndm.config import Experiment
from ndm.data.manifest import Manifest
from ndm.errors import UserError
from ndm.objectives import Objective
from ndm.runs import RunFolder
from ndm.training import checkpoint


class Trained(NamedTuple):
    """An objective with the averaged weights, in evaluation mode, and how many examples it has seen."""

    objective: Objective
    position: int


def load(folder: RunFolder, experiment: Experiment, manifest: Manifest, path: Path | None = None) -> Trained:
    """Load the averaged weights of the newest checkpoint that is good, or of the one at `path`.

    Raises:
        UserError: there is no checkpoint, it is damaged, or it is of another experiment or other data.
    """
    found = _read(folder, path) if path else checkpoint.latest(folder.checkpoints)
    if found is None:
        raise UserError(
            f"The run {folder.name} has no usable checkpoint yet; train it with: ndm train {experiment.name}"
        )
    check(found, folder, experiment, manifest)
    objective = build_objective(experiment, manifest.shape, manifest.levels).requires_grad_(False).eval()
    objective.load_state_dict(found.tensors["ema"])
    return Trained(objective, found.position)


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
