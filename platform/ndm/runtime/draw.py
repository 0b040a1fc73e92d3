"""Draws samples over Ray tasks, one block of them each."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndm import presets
from ndm.config import Experiment
from ndm.data.manifest import Manifest
from ndm.evaluation import trained
from ndm.evaluation.sample import draw
from ndm.runs import RunFolder
from ndm.runtime.workspace import Workspace


class Drawn(NamedTuple):
    """The samples 0 .. N - 1 of a run."""

    raw: Tensor
    """Stored values, [N, *shape]."""
    evaluations: int
    """Evaluations of the denoising network for a sample; where a solver chooses its steps, the most of any batch."""
    position: int
    """Examples that the model has seen."""


@lru_cache(maxsize=1)
def _load(run: Path, checkpoint: Path | None, experiment: str, data: Path) -> tuple[Experiment, trained.Trained]:
    """Ray keeps a task's process, so its next block finds the model loaded."""
    resolved = presets.resolve(json.loads(experiment))
    found = trained.load(RunFolder(run), resolved, Manifest.read(data), checkpoint)
    return resolved, found._replace(objective=found.objective.to("cuda" if torch.cuda.is_available() else "cpu"))


@ray.remote(num_cpus=1)
def _block(where: tuple[Path, Path | None, str, Path], start: int, stop: int) -> tuple[NDArray[Any], int, int]:
    torch.set_num_threads(1)
    resolved, (objective, position) = _load(*where)
    raw, evaluations = draw(
        resolved.sampler.build(objective.steps),
        objective.model,
        stop - start,
        seed=resolved.seed,
        batch=resolved.evaluation.batch,
        first_id=start,
    )
    return raw.numpy(), evaluations, position


def draw_samples(workspace: Workspace, progress: Callable[[int, int], None]) -> Drawn:
    """The first `samples.count` samples of a run, in the order of their ids. Needs a running Ray.

    A block is `evaluation.block` samples, rounded up to whole batches. So every batch begins at a multiple of
    `evaluation.batch`, and a sample has the same bits whatever the blocks and the workers, also where a batch shares
    something: the steps of the adaptive sampler `ode`, or the order of floating-point sums.
    `progress(done, count)` is called as blocks come in.
    """
    experiment = workspace.experiment
    count, batch = experiment.samples.count, experiment.evaluation.batch
    size = -(-experiment.evaluation.block // batch) * batch
    where = (workspace.folder.path, workspace.checkpoint, experiment.canonical_json(), workspace.data)
    task = _block.options(num_gpus=1) if torch.cuda.is_available() else _block
    pending = {task.remote(where, start, min(start + size, count)): start for start in range(0, count, size)}
    blocks: dict[int, Tensor] = {}
    most, positions = 0, set[int]()
    while pending:
        ready, _ = ray.wait(list(pending))
        for reference in ready:
            raw, evaluations, position = ray.get(reference)
            blocks[pending.pop(reference)] = torch.from_numpy(raw.copy())
            most = max(most, evaluations)
            positions.add(position)
        progress(sum(len(block) for block in blocks.values()), count)
    (position,) = positions  # or the run was trained on while it was sampled
    return Drawn(torch.cat([blocks[start] for start in sorted(blocks)]), most, position)
