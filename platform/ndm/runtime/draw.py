"""Draws samples over Ray tasks, one block of them each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import ray
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndm.evaluation.sample import draw
from ndm.runtime.loaded import Where, load, on_device
from ndm.runtime.workspace import Workspace


class Drawn(NamedTuple):
    """The samples 0 .. N - 1 of a run."""

    raw: Tensor
    """Stored values, [N, *shape]."""
    evaluations: int
    """Evaluations of the denoising network for a sample; where a solver chooses its steps, the most of any batch."""
    position: int
    """Examples that the model has seen."""


@ray.remote(num_cpus=1)
def _block(where: Where, start: int, stop: int) -> tuple[NDArray[Any], int, int]:
    trained = load(where)
    raw, evaluations = draw(
        trained.experiment.sampler.build(trained.objective.steps),
        trained.objective.model,
        stop - start,
        seed=trained.experiment.seed,
        batch=trained.experiment.evaluation.batch,
        first_id=start,
    )
    return raw.numpy(), evaluations, trained.position


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
    where, task = Where.of(workspace), on_device(_block)
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
