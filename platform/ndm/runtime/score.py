"""Scores a split over Ray tasks, one block of images each; a block that was scored before is not scored again."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import torch

from ndm.data.shards import read_rows
from ndm.errors import UserError
from ndm.evaluation.score import assemble, read, score, unresolved, write
from ndm.likelihood.estimators import PILOT, Estimator, Pilot
from ndm.runs import RunFolder
from ndm.runtime.loaded import Where, device, load, on_device
from ndm.runtime.spread import results
from ndm.runtime.workspace import Workspace


def score_block(
    where: Where, estimator: Estimator, split: str, start: int, stop: int, seed: int, batch: int
) -> tuple[pa.Table, int, float]:
    """In this process: the table of a block, the examples that the model has seen, and the seconds of work."""
    trained = load(where)
    raw = torch.from_numpy(read_rows(where.data, trained.manifest, split, start, stop).raw.copy()).to(device())
    began = _busy()
    table = score(trained.objective, raw, start, estimator, seed=seed, batch=batch)
    return table, trained.position, _busy() - began


_block = ray.remote(num_cpus=1)(score_block)


def _busy() -> float:
    """Seconds that this process has worked: of its CPU, or by the clock where a GPU does the work."""
    return time.process_time() if device() == "cpu" else time.perf_counter()


@ray.remote(num_cpus=1)
def _fit(where: Where, asked: Estimator, seed: int) -> Estimator:
    trained = load(where)
    rows = read_rows(where.data, trained.manifest, "validation", 0, min(PILOT, trained.manifest.rows("validation")))
    x = trained.objective.model.decoder.encode(torch.from_numpy(rows.raw.copy()).to(device()))
    return asked.fitted(trained.objective, Pilot(x, seed))


def fitted(workspace: Workspace, asked: Estimator) -> Estimator:
    """The estimator with what it takes from the first validation images. Needs a running Ray."""
    if not asked.needs_fitting:
        return asked
    workspace.terminal.say(f"fitting {asked.name} to validation images ...")
    return ray.get(on_device(_fit).remote(Where.of(workspace), asked, workspace.experiment.evaluation.seed))


def score_split(
    workspace: Workspace, estimator: Estimator, made: dict[str, Any], progress: Callable[[int, int], None]
) -> tuple[pa.Table, float]:
    """The table of a split, every image exactly once, and the seconds of work per image. Needs a running Ray.

    `made` says how the numbers are made: blocks that were kept under the same are taken as they are. `progress(done,
    images)` is called as blocks come in.

    Raises:
        UserError: the solver's error is above the standard error; told by the first blocks, if they show it.
    """
    settings = workspace.experiment.evaluation
    images = workspace.manifest.rows(settings.split)
    kept = blocks_of(workspace.folder, made)
    where, task = Where.of(workspace), on_device(_block)
    blocks: list[pa.Table] = []
    left: list[tuple[int, int]] = []
    spent = 0.0
    for start in range(0, images, settings.block):
        stop = min(start + settings.block, images)
        if (file := kept / f"{start:012d}-{stop:012d}.parquet").is_file():
            table, about = read(file)
            blocks.append(table)
            spent += about["seconds"]
        else:
            left.append((start, stop))

    def submit(block: tuple[int, int]) -> Any:
        return task.remote(where, estimator, settings.split, *block, settings.seed, settings.batch)

    for table, position, seconds in results(submit, left):
        assert position == made["examples_seen"], "the run was trained on while it was scored"
        if why := unresolved(table, images, settings.tolerance):
            raise UserError(f"{estimator.name} is not reported: {why}.")
        first, last = table.column("id")[0].as_py(), table.column("id")[-1].as_py()
        write(table, kept / f"{first:012d}-{last + 1:012d}.parquet", {"seconds": seconds})
        blocks.append(table)
        spent += seconds
        progress(sum(len(block) for block in blocks), images)
    whole = assemble(blocks, images)
    if why := unresolved(whole, images, settings.tolerance):
        raise UserError(f"{estimator.name} is not reported: {why}.")
    return whole, spent / images


def blocks_of(folder: RunFolder, made: dict[str, Any]) -> Path:
    """Where the blocks of a table are kept until it is written."""
    key = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
    return folder.likelihood / "blocks" / key
