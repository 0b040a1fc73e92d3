"""Scores a trained run and draws its samples, and records both."""

import hashlib
from typing import Any

import torch

from ndm.data.shards import read_rows
from ndm.evaluation import figures, trained
from ndm.evaluation.sample import draw
from ndm.evaluation.score import summary, write
from ndm.runtime.score import score_split
from ndm.runtime.workspace import Workspace
from ndm.tracking.spool import Spool

FIGURE_POINTS = 2000

FINAL = 0
"""Step of a finished run's scores: MLflow draws a metric that has this step alone as bars over runs."""


def evaluate(workspace: Workspace, spool: Spool) -> dict[str, Any]:
    """Bound of every image of the split, exactly once each: the recipe and the summary. Needs a running Ray."""
    folder, manifest, experiment = workspace.folder, workspace.manifest, workspace.experiment
    progress = workspace.terminal.count(f"scoring {experiment.evaluation.split} images")
    table, made = score_split(folder, experiment, workspace.data, manifest, progress)
    bits = summary(table, manifest.dimensions)
    path = folder.likelihood / f"{made['split']}-{made['estimator']}.parquet"
    write(table, path, made)
    spool.artifact(path, "likelihood")
    prefix = f"{made['split']}/bpd_{made['estimator']}"
    values = {prefix: bits["bits_per_dim"]["value"], f"{prefix}_se": bits["bits_per_dim"]["error"]}
    values |= {f"{prefix}_{part}": bits[part]["value"] for part in ("prior", "reconstruction", "diffusion")}
    spool.metrics(FINAL, values)
    return {**made, **bits, "table": str(path.relative_to(workspace.root.parent))}


def sample(workspace: Workspace, spool: Spool) -> dict[str, Any]:
    """A grid of samples at the run's fixed latents, as PNG and npz, and the pictures of its forward process."""
    folder, manifest, experiment = workspace.folder, workspace.manifest, workspace.experiment
    objective, position = trained.load(folder, experiment, manifest)
    sampler = experiment.sampler
    raw, evaluations = draw(
        sampler.build(objective.steps),
        objective.model,
        experiment.monitor.samples,
        seed=experiment.seed,
        batch=experiment.evaluation.batch,
    )
    given = sampler.model_dump(exclude={"kind", "times"}, exclude_none=True)
    if getattr(sampler, "times", None):
        given["times"] = hashlib.sha256(repr(sampler.times).encode()).hexdigest()[:8]
    path = folder.samples / ("-".join([sampler.kind, *(f"{key}{value}" for key, value in given.items())]) + ".png")
    figures.samples(raw, manifest.levels, path)
    figures.archive(raw, path.with_suffix(".npz"))
    rows = read_rows(workspace.data, manifest, "test", 0, min(FIGURE_POINTS, manifest.rows("test")))
    drawn = figures.of_forward_process(objective, manifest, torch.from_numpy(rows.raw.copy()), folder.path / "figures")
    for file in (path, path.with_suffix(".npz")):
        spool.artifact(file, "samples")
    for file in drawn:
        spool.artifact(file, "figures")
    return {
        "sampler": sampler.model_dump(mode="json"),
        "evaluations": evaluations,
        "examples_seen": position,
        "picture": str(path.relative_to(workspace.root.parent)),
        "figures": [str(file.relative_to(workspace.root.parent)) for file in drawn],
    }
