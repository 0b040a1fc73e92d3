"""`ndm data`: what it lists and shows is what the manifests say, and what it verifies is every byte."""

from pathlib import Path

import pytest
from commands import here, refusal

from ndm.data.manifest import Manifest
from ndm.data.prepare import prepare
from ndm.data.sources import digits, rings


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    for source in (rings.Config(examples=100), digits.Config()):
        prepare(source, tmp_path / "runs" / "data")
    return tmp_path


def test_the_list_has_a_line_for_each_data_set(prepared: Path) -> None:
    hashes = [Manifest.read(prepared / "runs/data" / name).hash[:12] for name in ("digits-1", "rings-1-100")]
    lines = [" ".join(line.split()) for line in here(prepared, "data", "list").output.splitlines() if line]
    assert lines == [
        f"digits-1 1,437 + 180 + 180 examples of 1x8x8, 17 levels, 0.2 MB, hash {hashes[0]}",
        f"rings-1-100 100 + 2,000 + 2,000 examples of 2, continuous, 0.1 MB, hash {hashes[1]}",
    ]


def test_a_data_set_is_shown_with_all_its_shards(prepared: Path) -> None:
    manifest = Manifest.read(prepared / "runs/data/digits-1")
    output = here(prepared, "data", "show", "digits-1").output
    for split in manifest.splits:
        for shard in manifest.shards(split):
            assert f"{shard.rows} rows, {shard.bytes:,} bytes, SHA-256 {shard.sha256}" in output
    assert manifest.hash in output
    assert "rings" not in output


def test_one_changed_byte_is_found_and_named(prepared: Path) -> None:
    said = here(prepared, "data", "verify").output
    assert "digits-1 is whole: hash " in said
    assert "rings-1-100 is whole: hash " in said
    file = prepared / "runs/data/digits-1/train-00003.parquet"
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    sentence = refusal(prepared, "data", "verify", "digits-1")
    assert sentence.startswith("The shard train-00003.parquet of the data set digits-1 is damaged: its SHA-256 is not ")
    assert "rings-1-100 is whole" in here(prepared, "data", "verify", "rings-1-100").output


def test_data_sets_may_be_kept_anywhere(prepared: Path, tmp_path: Path) -> None:
    (prepared / "runs/data").rename(tmp_path / "elsewhere")
    assert "none" in here(prepared, "data", "list").output
    listed = here(prepared, "data", "list", "storage.data=elsewhere").output
    assert "digits-1 " in listed
    assert "rings-1-100 " in listed
    assert here(prepared, "data", "list", f"{tmp_path}/elsewhere").output == listed
    for given in (["digits-1", "storage.data=elsewhere"], ["./elsewhere", "digits-1"], ["elsewhere/digits-1"]):
        said = here(prepared, "data", "verify", *given).output
        assert "digits-1 is whole" in said
        assert "rings" not in said
    assert "not in a/b and storage.data=c; give one" in refusal(prepared, "data", "list", "a/b", "storage.data=c")
    secret = refusal(prepared, "data", "list", "s3://key:secret@bucket/x")
    assert secret.startswith("storage.data=s3://...@bucket/x is not valid: it must be a local path or s3://bucket/key")


def test_an_unknown_data_set_and_an_empty_folder_are_told(prepared: Path, tmp_path: Path) -> None:
    assert refusal(prepared, "data", "show", "cifar").endswith("there are digits-1, rings-1-100.\n")
    assert "there is none yet; prepare one" in refusal(tmp_path, "data", "verify", "x", "--root", "nowhere")
    assert "none" in here(tmp_path, "data", "list", "--root", "nowhere").output


def test_a_folder_that_cannot_be_written_is_named_by_the_key_that_was_given(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for key, given in (("storage.data", "file/sets"), ("storage.root", "file/runs")):
        sentence = refusal(tmp_path, "prepare", "digits-tiny", f"{key}={given}")
        assert sentence.startswith("The data set digits-1 cannot be written to ")
        assert sentence.endswith(f": Not a directory; choose another {key}=...\n")
