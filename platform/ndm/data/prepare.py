"""From a source to a prepared data set: shuffled once, cut into verified shards, described by a manifest.

The same command continues after a kill and repairs damage: shards that are already what they should be stay untouched.
"""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ndm.data import shards
from ndm.data.manifest import FILE, Manifest, Shard, check
from ndm.data.permutation import permutation
from ndm.data.publish import publish
from ndm.data.shards import Rows, write_shard
from ndm.data.sources import Examples, SourceConfig
from ndm.errors import UserError

PREPARATION = 1
"""Raise it when the same source is turned into other rows."""
ROW_SEED = 0
"""Of the one global shuffle of each split. The order of training has a seed of its own."""

Progress = Callable[[int, int], None]
"""Called with (rows written, rows in all)."""


def prepare(
    source: SourceConfig,
    root: Path,
    *,
    rows_per_shard: int | None = None,
    progress: Progress | None = None,
    verify: bool = True,
) -> Path:
    """Prepare the source's data set in `<root>/<name>-<version>` and return that folder.

    A complete data set of the same preparation is left as it is, after every byte of it was verified, or with
    `verify=False` after a look at the sizes. Two processes may prepare the same data set: one waits.

    Raises:
        UserError: the source has other data than it promises, or the folder cannot be written.
    """
    identity = source.identity()
    folder = root / f"{identity['name']}-{identity['version']}"
    asked = {
        **identity,
        "preparation": PREPARATION,
        "row_seed": ROW_SEED,
        "rows_per_shard": rows_per_shard or source.rows_per_shard,
    }
    if _complete(folder, asked, verify):
        return folder
    splits = source.load()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _complete(folder, asked, verify):
                _write(folder, asked, splits, progress)
    except OSError as error:
        raise UserError(
            f"The data set {folder.name} cannot be written to {root}: {error.strerror}; choose another storage.root=..."
        ) from error
    return folder


def _complete(folder: Path, asked: dict[str, str | int], verify: bool) -> bool:
    try:
        manifest = shards.verify(folder) if verify else check(folder)
    except UserError:
        return False
    return asked == {key: getattr(manifest, key) for key in asked}


def _write(folder: Path, asked: dict[str, str | int], splits: dict[str, Examples], progress: Progress | None) -> None:
    example = splits["train"]
    rows, total, done = int(asked["rows_per_shard"]), sum(len(e.labels) for e in splits.values()), 0
    written: dict[str, list[Shard]] = {split: [] for split in splits}
    for split, examples in splits.items():
        _agree(examples, example)
        order = permutation(len(examples.labels), "prepare", asked["name"], asked["row_seed"], split)
        for number, start in enumerate(range(0, len(order), rows)):
            chosen = order[start : start + rows]
            index = np.arange(start, start + len(chosen))
            part = Rows(examples.raw[chosen], examples.labels[chosen], index)
            written[split].append(write_shard(folder, f"{split}-{number:05d}.parquet", part, examples.levels))
            done += len(chosen)
            if progress is not None:
                progress(done, total)
    manifest = Manifest.model_validate(
        {
            **asked,
            "shape": example.raw.shape[1:],
            "dtype": str(example.raw.dtype),
            "levels": example.levels,
            "labels": 1 + max(int(e.labels.max()) for e in splits.values()),
            "splits": {split: tuple(entries) for split, entries in written.items()},
        }
    ).signed()
    content = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True)
    publish(folder / FILE, content.encode())


def _agree(examples: Examples, first: Examples) -> None:
    assert len(examples.raw) == len(examples.labels) > 0
    assert examples.raw.shape[1:] == first.raw.shape[1:]
    assert examples.raw.dtype == first.raw.dtype == (np.uint8 if examples.levels else np.float32)
    assert examples.levels == first.levels
