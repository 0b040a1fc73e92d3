"""From a source to a prepared data set: shuffled once, cut into verified shards, described by a manifest.

The shuffle needs memory for a part of the source and for a shard, whatever the size of the data: every part is read
once and its rows are put down in the order of the places they will have; then each shard collects its own. What is
reached is kept, so the same command continues after a kill; shards that are already what they should be stay untouched.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndm.data import shards, spill
from ndm.data.folders import Folder
from ndm.data.manifest import FILE, Manifest, Shard, check
from ndm.data.permutation import permutation
from ndm.data.publish import publish
from ndm.data.shards import Rows, write_shard
from ndm.data.sources import Opened, Part, SourceConfig
from ndm.errors import UserError

PREPARATION = 1
"""Raise it when the same source is turned into other rows."""
ROW_SEED = 0
"""Of the one global shuffle of each split. The order of training has a seed of its own."""

LARGE = 2**28
"""Bytes of a data set from which on its preparation is spread; below, starting the tasks takes longer."""

Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all); a row is half done when it is read."""
Each = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""Applies a function to every item, in any order and anywhere; by default here, one after another."""


def prepare(
    source: SourceConfig,
    root: Path,
    *,
    rows_per_shard: int | None = None,
    progress: Progress | None = None,
    verify: bool = True,
    each: Each = map,
    key: str = "storage.root",
) -> Path:
    """Prepare the source's data set in `<root>/<name>-<version>` and return that folder.

    A complete data set of the same preparation is left as it is, after every byte of it was verified, or with
    `verify=False` after a look at the sizes. Two processes may prepare the same data set: one waits. `each` may spread
    the work of a LARGE data set over processes that see the same files. `key` is what the user gave as the root.

    Raises:
        UserError: the source has other data than it promises, or the folder cannot be written.
    """
    wanted = asked(source, rows_per_shard)
    folder = root / f"{wanted['name']}-{wanted['version']}"
    if complete(folder, wanted, verify):
        return folder
    opened = source.open()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not complete(folder, wanted, verify):
                _write(folder, wanted, source, opened, each, _counted(opened, progress))
    except OSError as error:
        raise UserError(
            f"The data set {folder.name} cannot be written to {root}: {error.strerror}; choose another {key}=..."
        ) from error
    return folder


def asked(source: SourceConfig, rows_per_shard: int | None = None) -> dict[str, str | int]:
    """What the manifest of a source's data set says of its making."""
    return {
        **source.identity(),
        "preparation": PREPARATION,
        "row_seed": ROW_SEED,
        "rows_per_shard": rows_per_shard or source.rows_per_shard,
    }


def complete(folder: Folder, wanted: dict[str, str | int], verify: bool) -> bool:
    """Whether a whole data set of that making is there, by every byte or (verify=False) by the sizes."""
    try:
        manifest = shards.verify(folder) if verify else check(folder)
    except UserError:
        return False
    return wanted == {key: getattr(manifest, key) for key in wanted}


def _counted(opened: Opened, progress: Progress | None) -> Callable[[int], None]:
    """Adds up rows that were read or written."""
    total, done = sum(map(len, opened.splits.values())), 0

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress(done // 2, total)

    return count


@dataclass(frozen=True)
class Cut:
    """One shard to be: the places first .. last - 1 of all splits laid end to end."""

    split: str
    number: int
    first: int
    last: int
    begin: int
    """Place where the split begins."""


@dataclass(frozen=True)
class Work:
    """What every step of one preparation knows."""

    folder: Path
    spilled: Path
    source: SourceConfig


def _write(
    folder: Path,
    wanted: dict[str, str | int],
    source: SourceConfig,
    opened: Opened,
    each: Each,
    count: Callable[[int], None],
) -> None:
    # What another preparation left there is of no use.
    key = hashlib.sha256(json.dumps([wanted, [part.rows for part in opened.parts]]).encode()).hexdigest()
    work = Work(folder, folder / f".work-{key[:16]}", source)
    for left in folder.glob(".work-*"):
        if left != work.spilled:
            shutil.rmtree(left)
    places, cuts = _layout(wanted, opened)
    firsts = np.cumsum([0, *(part.rows for part in opened.parts)])
    assert firsts[-1] == len(places), "rows are numbered through all parts"
    jobs = [
        (work, number, part, places[first : first + part.rows])
        for number, (part, first) in enumerate(zip(opened.parts, firsts, strict=False))
    ]
    size = 1 if source.levels else 4
    if len(places) * prod(source.shape) * size < LARGE:
        each = map
    work.spilled.mkdir(exist_ok=True)
    for rows in each(_spill, jobs):
        count(rows)
    files = [spill.path(work.spilled, number) for number in range(len(jobs))]
    entries = dict[tuple[str, int], Shard]()
    labels = 0
    for cut, shard, most in each(_collect, [(work, files, cut) for cut in cuts]):
        entries[cut.split, cut.number] = shard
        labels = max(labels, most + 1)
        count(shard.rows)
    manifest = Manifest.model_validate(
        {
            **wanted,
            "shape": source.shape,
            "dtype": "uint8" if source.levels else "float32",
            "levels": source.levels,
            "labels": labels,
            "splits": {
                split: tuple(entries[cut.split, cut.number] for cut in cuts if cut.split == split)
                for split in opened.splits
            },
        }
    ).signed()
    content = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True)
    publish(folder / FILE, content.encode())
    shutil.rmtree(work.spilled)


def _layout(wanted: dict[str, str | int], opened: Opened) -> tuple[NDArray[np.int64], list[Cut]]:
    """The place of every row of the source, -1 for rows of no split, and the shards that cut the places."""
    places = np.full(sum(part.rows for part in opened.parts), -1)
    rows, begin = int(wanted["rows_per_shard"]), 0
    cuts: list[Cut] = []
    for split, numbers in opened.splits.items():
        assert len(numbers) > 0, "a split is not empty"
        assert (places[numbers] == -1).all(), "splits are disjoint"
        order = permutation(len(numbers), "prepare", wanted["name"], wanted["row_seed"], split)
        end = begin + len(numbers)
        places[numbers[order]] = np.arange(begin, end)
        cuts += [
            Cut(split, number, first, min(first + rows, end), begin)
            for number, first in enumerate(range(begin, end, rows))
        ]
        begin = end
    return places, cuts


def _spill(job: tuple[Work, int, Part, NDArray[np.int64]]) -> int:
    """Read a part and put its rows down, unless that was done; returns how many of them are in a split."""
    work, number, part, places = job
    wanted = int((places >= 0).sum())
    if not spill.path(work.spilled, number).is_file():
        examples = part.read()
        assert examples.raw.shape == (part.rows, *work.source.shape)
        assert examples.raw.dtype == (np.uint8 if work.source.levels else np.float32)
        spill.write(work.spilled, number, places, examples)
    return wanted


def _collect(job: tuple[Work, list[Path], Cut]) -> tuple[Cut, Shard, int]:
    """Write a shard from what the parts put down for it; returns its entry and its largest label."""
    work, files, cut = job
    dtype = "uint8" if work.source.levels else "float32"
    examples = spill.collect(files, cut.first, cut.last, dtype, work.source.shape)
    index = np.arange(cut.first, cut.last) - cut.begin
    rows = Rows(examples.raw, examples.labels, index)
    shard = write_shard(work.folder, f"{cut.split}-{cut.number:05d}.parquet", rows, work.source.levels)
    return cut, shard, int(examples.labels.max())
