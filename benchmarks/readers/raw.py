"""Reading whole shards, one after another: ours, hashed or hashed before, and pyarrow's scan of the Parquet files."""

import statistics
import sys
import time
from pathlib import Path

import measure
import pyarrow.dataset as ds

from ndm.data.manifest import Manifest
from ndm.data.shards import read_shard

ROUNDS = 5


def hashed(folder: Path, manifest: Manifest) -> int:
    """As in the first epoch of a process."""
    return sum(len(read_shard(folder, manifest, shard).raw) for shard in manifest.shards("train"))


def ours(folder: Path, manifest: Manifest) -> int:
    """As in every other one, where the shards are not held in memory."""
    return sum(len(read_shard(folder, manifest, shard, again=False).raw) for shard in manifest.shards("train"))


def scan(folder: Path, manifest: Manifest) -> int:
    """All columns, by one thread, as record batches."""
    files = [str(folder / shard.file) for shard in manifest.shards("train")]
    scanner = ds.dataset(files, format="parquet").scanner(use_threads=False)
    return sum(batch.num_rows for batch in scanner.to_batches())


if __name__ == "__main__":
    task = measure.asked(sys.argv[1])
    folder = Path(task.folder)
    manifest = Manifest.read(folder)
    ways = {"hashed": hashed, "ours": ours, "scan": scan}
    times = {name: list[float]() for name in ways}
    for _ in range(ROUNDS + 1):
        for name, way in ways.items():
            start = time.process_time()
            assert way(folder, manifest) == manifest.rows("train")
            times[name].append(time.process_time() - start)
    # The first round warms the disk's cache.
    measure.answer({name: manifest.rows("train") / statistics.median(own[1:]) for name, own in times.items()})
