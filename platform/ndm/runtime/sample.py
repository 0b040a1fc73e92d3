"""Draws a trained run's samples, compares them with the data, and records both."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from ndm.config import Experiment
from ndm.data.shards import read_rows
from ndm.evaluation import figures, trained
from ndm.evaluation.averages import suffix
from ndm.runtime.compare import asked, compare
from ndm.runtime.draw import draw_samples
from ndm.runtime.workspace import Workspace
from ndm.tracking.spool import Spool

FIGURE_POINTS = 2000


def check(workspace: Workspace) -> None:
    """Refuse what `sample` would refuse, before anything is computed.

    Raises:
        UserError: the features that are asked for cannot be had.
    """
    asked(workspace.experiment, workspace.manifest)


def sample(workspace: Workspace, spool: Spool) -> dict[str, Any]:
    """Samples at the run's fixed latents as PNG and npz, their quality, and the pictures of its forward process.

    Needs a running Ray.

    Raises:
        UserError: there is no checkpoint, or the features that are asked for cannot be had; before anything is drawn.
    """
    folder, manifest, experiment = workspace.folder, workspace.manifest, workspace.experiment
    features = asked(experiment, manifest)
    objective, _, averaging = trained.load(workspace.home, experiment, manifest, workspace.checkpoint)
    drawn = draw_samples(workspace, workspace.terminal.count("drawing samples"))
    path = folder.samples / f"{_name(experiment)}.png"
    figures.samples(drawn.raw, manifest.levels, path)
    figures.archive(drawn.raw, path.with_suffix(".npz"))
    rows = read_rows(workspace.data, manifest, "test", 0, min(FIGURE_POINTS, manifest.rows("test")))
    shown = figures.of_forward_process(objective, manifest, torch.from_numpy(rows.raw.copy()), folder.path / "figures")
    for file in (path, path.with_suffix(".npz")):
        spool.artifact(file, "samples")
    for file in shown:
        spool.artifact(file, "figures")

    def known(file: Path) -> str:
        return str(file.relative_to(workspace.root.parent))

    return {
        "sampler": experiment.sampler.model_dump(mode="json"),
        "count": len(drawn.raw),
        "evaluations": drawn.evaluations,
        "examples_seen": drawn.position,
        **averaging,
        "picture": known(path),
        "archive": known(path.with_suffix(".npz")),
        "figures": [known(file) for file in shown],
        "quality": compare(workspace, spool, drawn, features),
    }


def _name(experiment: Experiment) -> str:
    """The sampler and its settings, and the average of the weights where it is not the usual one."""
    sampler = experiment.sampler
    given = sampler.model_dump(exclude={"kind", "times"}, exclude_none=True)
    if getattr(sampler, "times", None):
        given["times"] = hashlib.sha256(repr(sampler.times).encode()).hexdigest()[:8]
    parts = [sampler.kind, *(f"{key}{value}" for key, value in given.items())]
    return "-".join(parts) + suffix(experiment.evaluation.ema)
