"""Scores a split over Ray tasks, one block of images each."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import torch

from ndm import presets
from ndm.config import Experiment
from ndm.data.manifest import Manifest
from ndm.data.shards import read_rows
from ndm.evaluation import trained
from ndm.evaluation.score import assemble, score
from ndm.likelihood.elbo import full_draws, recipe
from ndm.runs import RunFolder


@lru_cache(maxsize=1)
def _load(run: Path, experiment: str, data: Path) -> tuple[trained.Trained, Manifest]:
    """Ray keeps a task's process, so its next block finds the model loaded."""
    manifest = Manifest.read(data)
    return trained.load(RunFolder(run), presets.resolve(json.loads(experiment)), manifest), manifest


@ray.remote(num_cpus=1)
def _block(
    run: Path, experiment: str, data: Path, split: str, start: int, stop: int, seed: int, draws: int, batch: int
) -> tuple[pa.Table, int]:
    torch.set_num_threads(1)
    (objective, position), manifest = _load(run, experiment, data)
    raw = torch.from_numpy(read_rows(data, manifest, split, start, stop).raw.copy())
    return score(objective, raw, start, seed=seed, draws=draws, batch=batch), position


def score_split(
    folder: RunFolder, experiment: Experiment, data: Path, manifest: Manifest, progress: Callable[[int, int], None]
) -> tuple[pa.Table, dict[str, Any]]:
    """The table of a split, every image exactly once, and the recipe of its numbers. Needs a running Ray.

    `progress(done, images)` is called as blocks come in.
    """
    objective, position = trained.load(folder, experiment, manifest)
    settings = experiment.evaluation
    images, draws = manifest.rows(settings.split), full_draws(objective, settings.draws)
    common = (folder.path, experiment.canonical_json(), data, settings.split)
    pending = [
        _block.remote(*common, start, min(start + settings.block, images), settings.seed, draws, settings.batch)
        for start in range(0, images, settings.block)
    ]
    blocks: list[pa.Table] = []
    while pending:
        ready, pending = ray.wait(pending)
        for block, block_position in ray.get(ready):
            assert block_position == position, "the run was trained on while it was scored"
            blocks.append(block)
        progress(sum(len(block) for block in blocks), images)
    made = {
        "estimator": recipe(objective, draws),
        "split": settings.split,
        "seed": settings.seed,
        "images": images,
        "dimensions": manifest.dimensions,
        "examples_seen": position,
        "data": {"name": manifest.name, "version": manifest.version, "hash": manifest.hash},
    }
    return assemble(blocks, images), made
