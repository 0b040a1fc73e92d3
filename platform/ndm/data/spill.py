"""Rows on their way to their shards: what was read from one part, in the order of the places the rows will have.

An Arrow file a part, mapped into memory when a shard collects its rows: only the pages that are wanted are read.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ndm.data.publish import publish
from ndm.data.shards import binary, unbinary
from ndm.data.sources import Examples


def path(folder: Path, number: int) -> Path:
    """Where the rows of a part are put down."""
    return folder / f"part-{number:06d}.arrow"


def write(folder: Path, number: int, places: NDArray[np.int64], examples: Examples) -> None:
    """Put down the examples whose places, [N], are not negative; in one step."""
    order = np.argsort(places, kind="stable")[(places < 0).sum() :]
    raw = np.ascontiguousarray(examples.raw[order])
    table = pa.table({"place": places[order], "label": examples.labels[order], "example": binary(raw)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    publish(path(folder, number), memoryview(sink.getvalue()))


def collect(files: Sequence[Path], first: int, last: int, dtype: str, shape: tuple[int, ...]) -> Examples:
    """The examples of the places first .. last - 1, in their order; each is in one of the files."""
    raw, labels = np.empty((last - first, *shape), dtype), np.empty(last - first, np.int64)
    found = 0
    for file in files:
        with pa.memory_map(str(file)) as source:
            for batch in _batches(source):
                place = batch.column("place").to_numpy()
                start, stop = np.searchsorted(place, [first, last])
                here = place[start:stop] - first
                raw[here] = unbinary(batch.column("example").slice(start, stop - start), dtype, shape)
                labels[here] = batch.column("label").to_numpy()[start:stop]
                found += len(here)
    assert found == last - first, "every place has one row"
    return Examples(raw, labels)


def _batches(source: pa.MemoryMappedFile) -> Sequence[pa.RecordBatch]:
    reader = pa.ipc.open_file(source)
    return [reader.get_batch(i) for i in range(reader.num_record_batches)]
