"""Prepared data that somebody made to harm: manifests that lie, shards that unpack to far more than they are."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import Payload, refused

from ndm.data import shards
from ndm.data.manifest import FILE, Manifest, Shard, check
from ndm.data.shards import Rows

SHAPE, ROWS = (1, 2, 2), 6
WIDTH = 4
COLUMNS = {
    "example": pa.array([bytes(WIDTH)] * ROWS, pa.binary(WIDTH)),
    "label": pa.array([0] * ROWS, pa.int64()),
    "index": pa.array(range(ROWS), pa.int64()),
}
ABOUT = {"shape": "[1, 2, 2]", "dtype": "uint8", "levels": "4"}
PLAIN = {"compression": "none", "use_dictionary": False, "write_statistics": False}


def made(folder: Path) -> Manifest:
    folder.mkdir()
    raw = np.arange(ROWS * WIDTH, dtype=np.uint8).reshape(ROWS, *SHAPE) % 4
    rows = Rows(raw, np.zeros(ROWS, np.int64), np.arange(ROWS))
    entry = shards.write_shard(folder, "train-00000.parquet", rows, 4)
    about: dict[str, Any] = {"name": "toy", "version": "1", "preparation": 1, "row_seed": 0, "rows_per_shard": ROWS}
    form: dict[str, Any] = {"shape": SHAPE, "dtype": "uint8", "levels": 4, "labels": 1}
    return published(folder, Manifest.model_validate({**about, **form, "splits": {"train": (entry,)}}))


def published(folder: Path, manifest: Manifest) -> Manifest:
    (folder / FILE).write_text(manifest.signed().model_dump_json())
    return manifest.signed()


def exchanged(folder: Path, content: bytes, rows: int = ROWS, **changes: Any) -> tuple[Manifest, Shard]:
    """Another shard in the place of the first, with its size and hash in a manifest that is sealed."""
    manifest = made(folder)
    digest = hashlib.sha256(content).hexdigest()
    (old,) = manifest.shards("train")
    entry = old.model_copy(update={"rows": rows, "bytes": len(content), "sha256": digest})
    (folder / entry.file).write_bytes(content)
    return published(folder, manifest.model_copy(update={"splits": {"train": (entry,)}, **changes})), entry


def parquet(columns: dict[str, pa.Array], about: dict[str, str] = ABOUT, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table(columns).replace_schema_metadata(about)
    pq.write_table(table, sink, **(PLAIN | options))
    return sink.getvalue().to_pybytes()


def bomb(rows: int, **options: Any) -> bytes:
    """Equal rows without end, which take next to no room."""
    zeros = np.zeros(rows, np.int64)
    example = pa.FixedSizeBinaryArray.from_buffers(pa.binary(WIDTH), rows, [None, pa.py_buffer(bytes(rows * WIDTH))])
    return parquet({"example": example, "label": pa.array(zeros), "index": pa.array(zeros)}, **options)


def other(**columns: pa.Array) -> bytes:
    return parquet(COLUMNS | columns)


LIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "no index": (lambda: parquet({k: v for k, v in COLUMNS.items() if k != "index"}), "columns"),
    "one more column": (lambda: other(more=pa.array([b"x"] * ROWS)), "columns"),
    "examples of another width": (lambda: other(example=pa.array([b"x"] * ROWS, pa.binary(1))), "columns"),
    "examples that are texts": (lambda: other(example=pa.array(["abcd"] * ROWS)), "columns"),
    "labels that are texts": (lambda: other(label=pa.array(["a"] * ROWS)), "columns"),
    "labels that are lists": (lambda: other(label=pa.array([[1]] * ROWS)), "columns"),
    "labels that are missing": (lambda: other(label=pa.array([None] * ROWS, pa.int64())), "rows that it announces"),
    "another shape": (lambda: parquet(COLUMNS, ABOUT | {"shape": "[4]"}), "shape"),
    "nothing about itself": (lambda: parquet(COLUMNS, {}), "shape"),
    "packed": (lambda: parquet(COLUMNS, compression="zstd"), "packed"),
    "more rows than it has": (lambda: parquet({k: v[:3] for k, v in COLUMNS.items()}), "3 rows, the manifest says 6"),
    "no Parquet": (lambda: b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1", "not a Parquet file"),
    "half a footer": (lambda: parquet(COLUMNS)[:-40] + parquet(COLUMNS)[-8:], "not a Parquet file"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_shard_that_is_none_is_refused(tmp_path: Path, lie: str) -> None:
    content, words = LIES[lie]
    manifest, entry = exchanged(tmp_path / "toy", content())
    refused(lambda: shards.read_shard(tmp_path / "toy", manifest, entry), entry.file, words, "prepare it again")


def test_a_shard_that_unpacks_to_a_thousand_times_its_size_is_refused_unread(tmp_path: Path) -> None:
    rows = 100_000_000
    for number, options in enumerate(({"use_dictionary": True}, {"compression": "zstd"})):
        small = bomb(1_000_000, **options)
        folder = tmp_path / f"small{number}"
        assert len(small) < 1_000_000
        manifest, entry = exchanged(folder, small, 1_000_000)
        refused(lambda f=folder, m=manifest, e=entry: shards.read_shard(f, m, e), "it is packed")
        lying = entry.model_copy(update={"rows": rows})
        refused(lambda f=folder, m=manifest, e=lying: shards.read_shard(f, m, e), "1000000 rows")


def test_rows_under_other_numbers_are_a_sentence(tmp_path: Path) -> None:
    content = other(index=pa.array(range(ROWS)[::-1], pa.int64()))
    manifest, entry = exchanged(tmp_path / "toy", content)
    refused(lambda: shards.read_rows(tmp_path / "toy", manifest, "train", 0, 2), entry.file, "other numbers")


def test_an_extension_type_is_not_unpickled(tmp_path: Path) -> None:
    """Arrow's `arrow.py_extension_type` holds a pickle of its class, which old versions loaded."""
    import pickle

    canary = tmp_path / "executed"
    named = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Payload(canary)),
    }
    fields = [pa.field(name, column.type, metadata=named) for name, column in COLUMNS.items()]
    table = pa.table(list(COLUMNS.values()), pa.schema(fields, ABOUT))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **PLAIN)
    manifest, entry = exchanged(tmp_path / "toy", sink.getvalue().to_pybytes())
    assert len(shards.read_shard(tmp_path / "toy", manifest, entry).labels) == ROWS
    assert not canary.exists()


def test_what_pandas_would_do_with_its_metadata_is_not_done(tmp_path: Path) -> None:
    columns = {"index_columns": ["__import__('os')"], "columns": [{"name": "label", "pandas_type": "object"}]}
    content = parquet(COLUMNS, ABOUT | {"pandas": json.dumps(columns)})
    manifest, entry = exchanged(tmp_path / "toy", content)
    assert shards.read_shard(tmp_path / "toy", manifest, entry).raw.dtype == np.uint8


@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd", "pipe", "holes"])
def test_a_shard_that_is_something_else_is_not_read(tmp_path: Path, target: str) -> None:
    manifest = made(tmp_path / "toy")
    (entry,) = manifest.shards("train")
    file = tmp_path / "toy" / entry.file
    file.unlink()
    if target == "pipe":
        os.mkfifo(file)
    elif target == "holes":
        file.touch()
        os.truncate(file, 2**40)
    else:
        file.symlink_to(target)
    refused(lambda: shards.read_shard(tmp_path / "toy", manifest, entry), entry.file, "damaged")
    refused(lambda: check(tmp_path / "toy"), entry.file)


@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "holes"])
def test_a_manifest_that_is_something_else_is_not_read(tmp_path: Path, target: str) -> None:
    made(tmp_path / "toy")
    file = tmp_path / "toy" / FILE
    file.unlink()
    if target == "pipe":
        os.mkfifo(file)
    elif target == "holes":
        file.touch()
        os.truncate(file, 2**40)
    else:
        file.symlink_to(target)
    refused(lambda: Manifest.read(tmp_path / "toy"), FILE)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [10**400]),
        ("shape", [-1, 4]),
        ("shape", [0]),
        ("rows_per_shard", 10**400 * -1),
        ("splits", {"train": [{"file": "../x", "rows": 1, "bytes": 1}]}),
        ("splits", {"train": [{"file": "/etc/passwd", "rows": 1, "bytes": 1}]}),
        ("splits", {"train": [{"file": "a", "rows": 10**30, "bytes": 1}]}),
        ("splits", {"train": [{"file": "a", "rows": 1, "bytes": 10**30}]}),
        ("levels", float("nan")),
        ("dtype", "object"),
    ],
)
def test_a_manifest_with_such_a_value_is_refused(tmp_path: Path, key: str, value: object) -> None:
    tree = json.loads(made(tmp_path / "toy").model_dump_json())
    (tmp_path / "toy" / FILE).write_text(json.dumps(tree | {key: value}))
    refused(lambda: Manifest.read(tmp_path / "toy"), FILE, key, "prepare it again")


def test_a_deep_manifest_and_one_of_a_million_shards_are_refused(tmp_path: Path) -> None:
    tree = json.loads(made(tmp_path / "toy").model_dump_json())
    file = tmp_path / "toy" / FILE
    file.write_text("[" * 1_000_000)
    refused(lambda: Manifest.read(tmp_path / "toy"), "not JSON")
    file.write_text(json.dumps(tree | {"splits": {"train": tree["splits"]["train"] * 10**6}}))
    refused(lambda: Manifest.read(tmp_path / "toy"), FILE)
