"""A manifest is read only if it is whole, of this format and unchanged; its hash covers the content, not the files."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from ndm.data.manifest import FILE, Manifest, Shard, check
from ndm.errors import UserError


def shard(number: int, **changes: object) -> Shard:
    fields = {
        "file": f"train-{number:05d}.parquet",
        "rows": 10 + number,
        "bytes": 4,
        "sha256": "a" * 64,
        "content_sha256": f"{number}" * 64,
    }
    return Shard.model_validate(fields | changes)


def manifest(**changes: object) -> Manifest:
    fields = {
        "name": "toy",
        "version": "1",
        "preparation": 1,
        "row_seed": 0,
        "rows_per_shard": 16,
        "shape": (1, 2, 2),
        "dtype": "uint8",
        "levels": 4,
        "labels": 3,
        "splits": {"train": (shard(0), shard(1)), "test": (shard(2),)},
    }
    return Manifest.model_validate(fields | changes).signed()


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(text)
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        Manifest.read(folder)
    assert folder.name in str(caught.value)
    assert "ndm prepare EXPERIMENT" in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read(tmp_path):
    m = manifest()
    assert Manifest.read(write(tmp_path, m.model_dump_json())) == m
    assert m.rows("train") == 21
    assert m.row_bytes == 4
    assert m.dimensions == 4


def test_the_hash_covers_the_content():
    known = manifest().hash
    for changes in (
        {"name": "other"},
        {"version": "2"},
        {"preparation": 2},
        {"row_seed": 1},
        {"shape": (4, 1, 1)},
        {"dtype": "float32"},
        {"levels": 5},
        {"labels": 4},
        {"splits": {"train": (shard(1), shard(0)), "test": (shard(2),)}},
        {"splits": {"train": (shard(0, content_sha256="f" * 64), shard(1)), "test": (shard(2),)}},
        {"splits": {"train": (shard(0), shard(1)), "validation": (shard(2),)}},
    ):
        assert manifest(**changes).hash != known, changes


def test_the_hash_does_not_cover_the_bytes_of_the_files():
    files = {"sha256": "e" * 64, "bytes": 99}
    other = manifest(splits={"train": (shard(0, **files), shard(1, **files)), "test": (shard(2, **files),)})
    assert other.hash == manifest().hash


def test_a_missing_manifest_names_the_command(tmp_path):
    assert "not prepared" in refused(tmp_path / "toy-1")
    (tmp_path / "file").write_text("")
    assert "not prepared" in refused(tmp_path / "file")


@pytest.mark.parametrize("text", ["", "{", "\udcff", "[1, 2"])
def test_a_manifest_that_is_not_json_is_refused(tmp_path, text):
    folder = write(tmp_path / "toy-1", "")
    (folder / FILE).write_bytes(text.encode(errors="surrogateescape"))
    assert "not JSON" in refused(folder)


@pytest.mark.parametrize("tree", [{"format": 2}, {"format": "1"}, {}, [], 3])
def test_a_manifest_of_another_format_is_refused(tmp_path, tree):
    whole = {**json.loads(manifest().model_dump_json()), **tree} if isinstance(tree, dict) and tree else tree
    assert "reads 1" in refused(write(tmp_path / "toy-1", json.dumps(whole)))


@pytest.mark.parametrize(
    ("key", "value"),
    [("levels", -1), ("levels", "17"), ("dtype", "int32"), ("splits", {"train": [{"file": "x"}]}), ("surplus", 1)],
)
def test_a_wrong_value_is_named(tmp_path, key, value):
    tree = {**json.loads(manifest().model_dump_json()), key: value}
    assert f"no valid value for {key}" in refused(write(tmp_path / "toy-1", json.dumps(tree)))


def test_a_changed_manifest_is_refused(tmp_path):
    tree = json.loads(manifest().model_dump_json())
    tree["splits"]["train"][0]["content_sha256"] = "b" * 64
    assert "was changed" in refused(write(tmp_path / "toy-1", json.dumps(tree)))


@pytest.mark.parametrize("file", ["../escape.parquet", "/etc/passwd", "a/b.parquet", ".hidden", ""])
def test_a_shard_lies_inside_its_folder(file):
    with pytest.raises(ValidationError):
        shard(0, file=file)


def test_check_looks_at_every_size(tmp_path):
    m = manifest()
    folder = write(tmp_path / "toy-1", m.model_dump_json())
    for number in range(3):
        (folder / shard(number).file).write_bytes(b"1234")
    assert check(folder) == m
    (folder / shard(2).file).write_bytes(b"12345")
    with pytest.raises(UserError, match=r"train-00002\.parquet .* has 5 bytes.*ndm prepare EXPERIMENT"):
        check(folder)
    (folder / shard(2).file).unlink()
    with pytest.raises(UserError, match=r"train-00002\.parquet .* is missing.*ndm prepare EXPERIMENT"):
        check(folder)


def test_an_unknown_split_names_the_splits():
    with pytest.raises(UserError, match="no split validation; it has train, test"):
        manifest().rows("validation")
