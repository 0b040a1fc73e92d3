"""`ndm.data.ingest`: verified shards in an exact order, through Ray Data."""

import sys
from collections.abc import Iterator
from pathlib import Path

import measure

import ndm.runtime  # noqa: F401  # before Ray, which reads its settings once
from ndm.data import ingest
from ndm.data.ingest import Batch
from ndm.data.manifest import Manifest
from ndm.data.order import Order
from ndm.runtime.session import session


def batches(task: measure.Task) -> Iterator[Batch]:
    """One execution of Ray Data, so much longer than what is followed that it is as far ahead at the end as before."""
    folder = Path(task.folder)
    manifest = Manifest.read(folder)
    order = Order.of(manifest, "train", seed=0, streams=8)
    ahead = 2 * ingest.READ_AHEAD_BYTES // manifest.row_bytes
    more = task.images // measure.WARM + task.images - order.count + ahead
    stop = order.count + (0 if task.action == "check" else more)
    return ingest.batches(folder, manifest, order, start=0, stop=stop, batch_size=measure.BATCH)


if __name__ == "__main__":
    task = measure.asked(sys.argv[1])
    with session(Path(task.folder).parent / "ray", 1):
        reading = batches(task)
        found = measure.follow(task, iter([(batch.raw for batch in reading)]))
        for _ in reading:  # to its end: Ray Data does not like Ray to stop before it
            pass
    measure.answer(found)
