"""What one reading task does: the batches of a rank, cut into blocks and spans, each a pure function of its number.

A block is some consecutive global batches, about `BLOCK_BYTES` of this rank's examples: enough that its overhead is
small, little enough that the first one is there at once. A span is the consecutive blocks that one task reads, one
after another as a stream: a run of any length has at most `SPANS` tasks, so that starting takes the same fraction of a
second for ten million blocks as for ten. A task that dies reads its span again.

This module imports neither Ray nor torch: a reading process has to start quickly and stay small.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ndm.data.folders import Folder
from ndm.data.manifest import Manifest
from ndm.data.order import Order
from ndm.data.shards import binary, gather, unbinary
from ndm.errors import UserError

BLOCK_BYTES = 4 * 2**20
BLOCK_ROWS = 4096
BLOCKS_PER_SPAN = 16  # a task costs ten milliseconds
SPANS = 256


@dataclass(frozen=True)
class Plan:
    """The global batches at positions start, start + batch_size, .. below stop, as rank `rank` of `world` sees them."""

    folder: Folder
    manifest: Manifest
    order: Order
    start: int
    stop: int
    batch_size: int
    rank: int
    world: int
    steps_per_block: int
    """Global batches in a block."""

    @property
    def rows(self) -> int:
        """This rank's examples of a global batch."""
        return len(self.order.share(self.batch_size, self.rank, self.world))

    @property
    def steps(self) -> int:
        return len(range(self.start, self.stop, self.batch_size))

    @property
    def steps_per_span(self) -> int:
        """A whole number of blocks."""
        blocks = -(-self.steps // self.steps_per_block)
        return max(BLOCKS_PER_SPAN, -(-blocks // SPANS)) * self.steps_per_block

    @property
    def spans(self) -> int:
        return -(-self.steps // self.steps_per_span)

    @property
    def held_bytes(self) -> int:
        """Of the shards that batch after batch has rows of, at most: those of a window, in each of this rank's streams.

        Where two windows meet there are more, for one block.
        """
        rows = max(self.order.shard_rows)
        shards = -(-self.order.window // rows) + 1
        return self.order.streams // self.world * shards * rows * self.manifest.row_bytes

    @property
    def block_bytes(self) -> int:
        """Of a full block."""
        return self.steps_per_block * self.rows * (self.manifest.row_bytes + 8)


def default_steps(row_bytes: int, rows: int) -> int:
    """Batches in a block, if a rank's part of one is `rows` examples of `row_bytes`."""
    return max(1, min(BLOCK_ROWS // rows, BLOCK_BYTES // (rows * row_bytes)))


def read_span(items: Mapping[str, NDArray[np.int64]], plan: Plan) -> Iterator[pa.Table]:
    """The blocks of the span whose number is the one item, one table each.

    A table's row is this rank's part of one global batch: its `position`, and the raw `examples` and their `index` as
    one binary each. A user's mistake travels as a last row with nothing but an `error`: Ray would wrap an exception in
    a report of its own.
    """
    (span,) = items["item"].tolist()
    first = span * plan.steps_per_span
    last = min(first + plan.steps_per_span, plan.steps)
    try:
        for step in range(first, last, plan.steps_per_block):
            yield _block(plan, step, min(plan.steps_per_block, last - step))
    except UserError as error:
        yield pa.Table.from_pylist([{"error": str(error)}], schema=_schema(plan))


def batches(plan: Plan, table: pa.Table) -> Iterator[tuple[int, NDArray[Any], NDArray[np.int64]]]:
    """(position, raw [b, *shape], index [b]) of the batches in a table; the arrays are views of it, not writable.

    Raises:
        UserError: the sentence of the reading process.
    """
    rows = plan.rows
    for chunk in table.to_batches():
        for error in chunk.column("error").drop_null().to_pylist():
            raise UserError(error)
        raw = unbinary(chunk.column("examples"), plan.manifest.dtype, (rows, *plan.manifest.shape))
        index = unbinary(chunk.column("index"), "int64", (rows,))
        yield from zip(chunk.column("position").to_pylist(), raw, index, strict=True)


def _block(plan: Plan, step: int, steps: int) -> pa.Table:
    """The table of the batches number step .. step + steps - 1 of the plan."""
    starts = plan.start + plan.batch_size * np.arange(step, step + steps)
    # The streams divide a batch, so every batch has the arrangement of the first.
    places = plan.order.positions(plan.start, plan.batch_size, plan.rank, plan.world) - plan.start
    index = plan.order.rows(starts[:, None] + places)
    raw = gather(plan.folder, plan.manifest, "train", index.ravel(), plan.held_bytes).raw.reshape(steps, -1)
    return pa.table([starts, binary(raw), binary(index), pa.nulls(steps, pa.string())], schema=_schema(plan))


def _schema(plan: Plan) -> pa.Schema:
    rows = plan.rows
    return pa.schema(
        {
            "position": pa.int64(),
            "examples": pa.binary(rows * plan.manifest.row_bytes),
            "index": pa.binary(rows * 8),
            "error": pa.string(),
        }
    )
