"""Training batches through Ray Data, read by tasks beside the training worker, in the exact order of `Order`.

The whole run is ONE execution of one dataset, because each execution costs seconds: epochs are no boundary here. The
dataset's items are spans (see `ndm.data.blocks`); a reading task turns its span into a stream of verified blocks. Two
tasks read at a time, `READ_AHEAD_BYTES` ahead of the training.

A reading task asks for `TASK_CPUS` of a CPU. Whoever launches the training must leave `READERS * TASK_CPUS` of a CPU
free for each rank: if the training workers hold every CPU, no task ever starts and the training waits for ever, without
an error.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import ray.data
import torch
from torch import Tensor

from ndm.data import blocks
from ndm.data.blocks import Plan
from ndm.data.folders import Folder
from ndm.data.manifest import Manifest
from ndm.data.order import Order

TASK_CPUS = 0.1
READERS = 2
READ_AHEAD_BYTES = 64 * 2**20
"""Of the object store, for each rank; without a limit Ray would fill a share of it with blocks not yet needed."""

CHATTER = {"progress": logging.ERROR, "execution.streaming_executor": logging.WARNING}
"""Ray Data says that it shows no progress, and when it is done."""


@dataclass(frozen=True)
class Batch:
    """One rank's part of the global batch that starts at `position`."""

    position: int
    raw: Tensor
    """[b, *shape], uint8 or float32, as stored."""
    index: Tensor
    """[b], int64: row numbers in the training split."""


def batches(
    folder: Folder,
    manifest: Manifest,
    order: Order,
    *,
    start: int,
    stop: int,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    steps_per_block: int | None = None,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """This rank's part of the global batches at the positions range(start, stop, batch_size), from any start.

    `folder`, if it is a path, is absolute and readable on every node. `prefetch` is in blocks of `steps_per_block`
    global batches. Closing the iterator stops the reading.

    Raises:
        UserError: at once if the batch size or the world does not fit the streams of the order; on the way if a shard
            is missing or damaged.
    """
    order.require(batch_size, world)
    assert 0 <= rank < world
    assert order.count == manifest.rows("train"), "the order is of other data"
    steps = steps_per_block or blocks.default_steps(manifest.row_bytes, len(order.share(batch_size, rank, world)))
    plan = Plan(folder, manifest, order, start, stop, batch_size, rank, world, steps)
    return _follow(plan, prefetch) if plan.spans else iter(())


def _follow(plan: Plan, prefetch: int) -> Iterator[Batch]:
    expected = plan.start
    for table in _dataset(plan).iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=prefetch):
        for position, raw, index in blocks.batches(plan, table):
            assert position == expected, "Ray Data changed the order of the blocks"
            expected += plan.batch_size
            # The one copy: out of the object store, whose memory is not writable and is wanted back.
            yield Batch(position, torch.from_numpy(raw.copy()), torch.from_numpy(index.copy()))
    assert expected >= plan.stop, "Ray Data lost a block"


def _dataset(plan: Plan) -> ray.data.Dataset:
    """The blocks of the plan, in order."""
    for chatter, level in CHATTER.items():
        logging.getLogger(f"ray.data._internal.{chatter}").setLevel(level)
    dataset = ray.data.from_items(list(range(plan.spans)), override_num_blocks=plan.spans)
    context = dataset.context
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A block goes out as soon as it is made: it is larger than this, and not by half.
    context.target_max_block_size = plan.block_bytes * 3 // 4
    options = context.execution_options
    options.preserve_order = True
    options.resource_limits = ray.data.ExecutionResources.for_limits(
        object_store_memory=max(READ_AHEAD_BYTES, 8 * plan.block_bytes)
    )
    return dataset.map_batches(
        blocks.read_span,  # pyright: ignore[reportArgumentType]
        fn_kwargs={"plan": plan},
        batch_size=1,
        num_cpus=TASK_CPUS,
        compute=ray.data.TaskPoolStrategy(size=min(READERS, plan.spans)),
    )
