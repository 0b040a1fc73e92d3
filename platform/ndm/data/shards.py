"""Shards: Parquet files of raw examples, verified when they are read.

Columns: `example`, a fixed-size binary of the raw bytes in C order (Parquet has no byte column: a list of uint8 is
stored four times as large and read sixteen times slower); `label` and `index`, int64, the index being the row's number
in its split. Shape, dtype and levels are in the schema's metadata. Nothing is compressed: pixels hardly shrink, and an
uncompressed page is read at the speed of a copy. Numbers are little-endian.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ndm.data import folders
from ndm.data.cache import ByteCache
from ndm.data.folders import Folder
from ndm.data.manifest import Manifest, Shard, damaged, missing
from ndm.data.publish import publish

CACHE_BYTES = 512 * 2**20
"""Of verified shards that a process keeps, unless it is told to keep more."""
MOST_CACHE_BYTES = 2 * 2**30
"""That it may be told to keep."""


@dataclass(frozen=True)
class Rows:
    """Some rows of a split. What is read straight from a shard is not writable."""

    raw: NDArray[Any]
    """[n, *shape], uint8 or float32 as stored."""
    labels: NDArray[np.int64]
    """[n]."""
    index: NDArray[np.int64]
    """[n], row numbers in the split."""

    def content_sha256(self) -> str:
        """Of the raw bytes followed by the labels."""
        content = hashlib.sha256(np.ascontiguousarray(self.raw).data)
        content.update(np.ascontiguousarray(self.labels).data)
        return content.hexdigest()


Stamp = tuple[str, int, int, int, int, int, str]

_verified: ByteCache[Rows] = ByteCache(CACHE_BYTES)
_hashed: set[Stamp] = set()
"""Files that this process found to have the hash that they should have."""


def binary(raw: NDArray[Any]) -> pa.FixedSizeBinaryArray:
    """Examples [n, *shape] as a column of fixed-size binaries, without a copy."""
    assert raw.flags.c_contiguous, "the bytes of an example must lie together"
    width = raw[:1].nbytes if len(raw) else 1
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(raw), [None, pa.py_buffer(raw)])


def unbinary(column: pa.Array, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The examples [n, *shape] that lie in a column of fixed-size binaries: a view, not writable."""
    kind = np.dtype(dtype)
    numbers = np.frombuffer(column.buffers()[1], kind)
    width = column.type.byte_width // kind.itemsize
    return numbers[column.offset * width : (column.offset + len(column)) * width].reshape(len(column), *shape)


def write_shard(folder: Path, file: str, rows: Rows, levels: int) -> Shard:
    """Write a shard in one step, unless the very same file is there already; returns its entry in the manifest."""
    table = pa.table({"example": binary(rows.raw), "label": rows.labels, "index": rows.index})
    table = table.replace_schema_metadata(_metadata(rows.raw.shape[1:], str(rows.raw.dtype), levels))
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, row_group_size=len(table), compression="none", use_dictionary=False, write_statistics=False
    )
    content, path = sink.getvalue().to_pybytes(), folder / file
    if not (path.is_file() and path.read_bytes() == content):
        publish(path, content)
    return Shard(
        file=file,
        rows=len(table),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_sha256=rows.content_sha256(),
    )


def read_shard(folder: Folder, manifest: Manifest, shard: Shard, *, again: bool = True) -> Rows:
    """All rows of a shard, as views of the memory it was read into.

    With `again` off, a file of the local disk that this process has hashed and that nobody has touched since is not
    hashed again: SHA-256 takes twice the time of all the rest.

    Raises:
        UserError: it is missing, or differs from what the manifest says in size, SHA-256, rows or form.
    """
    try:
        stamp = _stamp(folder, shard)  # before it is read: what changes in between has another one the next time
        size = stamp[3] if stamp is not None else shard.bytes
        content = folders.content(folder, shard.file, shard.sha256) if size == shard.bytes else b""
    except FileNotFoundError:
        raise missing(folder, shard) from None
    if (size := len(content) or size) != shard.bytes:
        raise damaged(folder, shard, f"it has {size} bytes, the manifest says {shard.bytes}")
    if again or stamp not in _hashed:
        if hashlib.sha256(content).hexdigest() != shard.sha256:
            raise damaged(folder, shard, "its SHA-256 is not the one in the manifest")
        if stamp is not None:
            _hashed.add(stamp)
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        if why := _unlike(file, manifest, shard):  # before anything is decoded: few bytes can stand for many
            raise damaged(folder, shard, why)
        table = file.read(use_threads=False).combine_chunks()
    except (pa.ArrowException, OSError):
        raise damaged(folder, shard, "it is not a Parquet file") from None
    if table.num_rows != shard.rows or any(column.null_count for column in table.columns):
        raise damaged(folder, shard, "it has not the rows that it announces")
    raw = unbinary(table.column("example").chunk(0), manifest.dtype, manifest.shape)
    return Rows(raw, table.column("label").to_numpy(), table.column("index").to_numpy())


def _unlike(file: pq.ParquetFile, manifest: Manifest, shard: Shard) -> str | None:
    """What a file says of itself that no shard of this manifest would."""
    about, schema = file.metadata, file.schema_arrow
    if about.num_rows != shard.rows:
        return f"it has {about.num_rows} rows, the manifest says {shard.rows}"
    expected = _metadata(manifest.shape, manifest.dtype, manifest.levels)
    if not expected.items() <= (schema.metadata or {}).items():
        return "its shape, dtype or levels are not those in the manifest"
    example = pa.field("example", pa.binary(manifest.row_bytes))
    if not schema.equals(pa.schema([example, pa.field("label", pa.int64()), pa.field("index", pa.int64())])):
        return "its columns are not those of a shard"
    groups = [about.row_group(k) for k in range(about.num_row_groups)]
    plain = all(group.column(i).compression == "UNCOMPRESSED" for group in groups for i in range(len(schema)))
    if not plain or shard.rows * manifest.row_bytes > shard.bytes:
        return "it is packed"
    return None


def verify(folder: Folder, progress: Callable[[int, int], None] | None = None) -> Manifest:
    """The manifest, after reading every byte of every shard and hashing what lies in it; `progress` counts bytes.

    Raises:
        UserError: naming the first shard that differs.
    """
    manifest, done = Manifest.read(folder), 0
    for split in manifest.splits:
        for shard in manifest.shards(split):
            if read_shard(folder, manifest, shard).content_sha256() != shard.content_sha256:
                raise damaged(folder, shard, "its examples are not those of the manifest")
            done += shard.bytes
            if progress is not None:
                progress(done, manifest.bytes)
    return manifest


def gather(folder: Folder, manifest: Manifest, split: str, index: NDArray[np.int64], held: int = 0) -> Rows:
    """The rows of a split with the numbers `index`, in that order, writable. Shards are verified when they are read.

    `held` is how many bytes of shards the calls to come will ask for over and over. Where fewer are kept, each call
    reads most of its shards anew.

    Raises:
        UserError: a shard is missing or damaged.
    """
    shards = manifest.shards(split)
    first = np.cumsum([0, *(shard.rows for shard in shards)])
    assert len(index) == 0 or 0 <= index.min() <= index.max() < first[-1], "there is no such row"
    number = np.searchsorted(first, index, side="right") - 1
    rows = Rows(
        np.empty((len(index), *manifest.shape), manifest.dtype),
        np.empty(len(index), np.int64),
        np.array(index, np.int64),
    )
    _verified.budget = max(_verified.budget, min(held, MOST_CACHE_BYTES))
    for k in np.unique(number):
        shard = shards[k]
        key = str(folder), shard.file, shard.sha256
        whole = _verified.get(key, lambda shard=shard: read_shard(folder, manifest, shard, again=False), _nbytes)
        here = np.flatnonzero(number == k)
        there = index[here] - first[k]
        if not np.array_equal(whole.index[there], index[here]):
            raise damaged(folder, shard, "its rows have other numbers")
        rows.raw[here], rows.labels[here] = whole.raw[there], whole.labels[there]
    return rows


def _nbytes(rows: Rows) -> int:
    return rows.raw.nbytes


def read_rows(folder: Folder, manifest: Manifest, split: str, start: int, stop: int) -> Rows:
    """Rows start .. stop - 1 of a split; errors as for `gather`."""
    return gather(folder, manifest, split, np.arange(start, stop))


def _stamp(folder: Folder, shard: Shard) -> Stamp | None:
    """What a local file cannot keep if it is changed or replaced, and the hash it should have; None in a store.

    The time of the last change of its inode (st_ctime) is the system's alone to set.
    """
    if not isinstance(folder, Path):
        return None
    path = folder / shard.file
    found = path.stat()
    return str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, shard.sha256


def _metadata(shape: tuple[int, ...], dtype: str, levels: int) -> Mapping[bytes, bytes]:
    about = {"shape": json.dumps(list(shape)), "dtype": dtype, "levels": str(levels)}
    return {key.encode(): value.encode() for key, value in about.items()}
