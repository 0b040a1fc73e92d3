"""A run as a training leaves it, made without one: prepared data, a record, a checkpoint of random weights."""

from pathlib import Path

import torch
from analysis.run import Run

from ndm import presets
from ndm.build import build_objective
from ndm.data.manifest import Manifest
from ndm.data.prepare import prepare
from ndm.runs import RunFolder
from ndm.training import checkpoint

SMALL = ("network={width: 8, depth: 1}", "transform={kind: residual, network: {kind: mlp, width: 8, depth: 1}}")
"""Overrides of digits-tiny and rings-ndm: networks that take no time."""
POSITION = 12800
"""Examples that the checkpoint says it has seen."""


def tiny_run(root: Path, preset: str, *overrides: str, scale: float = 0.1, trained: int = 7) -> Run:
    """The run of a preset and overrides under `root`, its weights moved by `scale` times normals of seed `trained`."""
    experiment = presets.load(preset, list(overrides))
    manifest = Manifest.read(prepare(experiment.data, root / "data"))
    objective = build_objective(experiment, manifest.shape, manifest.levels)
    generator = torch.Generator().manual_seed(trained)
    with torch.no_grad():
        for weight in objective.parameters():
            weight += scale * torch.randn(weight.shape, generator=generator)
    folder = RunFolder(root / experiment.run_name())
    folder.write("experiment", experiment.model_dump(mode="json"))
    made = {"experiment": experiment.digest(), "data": manifest.hash}
    checkpoint.write(folder.checkpoints, POSITION, {"ema": dict(objective.state_dict())}, made, keep=None)
    return Run(folder, folder.experiment())
