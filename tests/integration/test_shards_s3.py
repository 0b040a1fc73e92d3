"""Prepared data sets in a store: the same bytes, through a cache that repairs itself, and trained from."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TINY, Tracked, here, records, refusal, tensors, uninterrupted

from ndm.data import places
from ndm.data.available import available
from ndm.data.folders import Remote
from ndm.data.manifest import FILE, Manifest, check
from ndm.data.prepare import prepare
from ndm.data.shards import gather, verify
from ndm.data.sources import digits
from ndm.errors import UserError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("embedded_ray")]

BUCKET = "prepared"
KEPT = f"s3://{BUCKET}/sets"
GENEROUS = 10**9


@pytest.fixture(scope="module", autouse=True)
def _bucket(store: Any) -> None:
    store.create_bucket(Bucket=BUCKET)


def kept(root: Path, limit: int = GENEROUS) -> Remote:
    found = available(digits.Config(), KEPT, root, limit=limit, progress=lambda what: lambda done, total: None)
    assert isinstance(found, Remote)
    return found


def test_a_data_set_is_put_into_the_store_once_and_read_from_there(store: Any, tmp_path: Path) -> None:
    local = prepare(digits.Config(), tmp_path / "local")
    remote = kept(tmp_path / "a")
    times = {o["Key"]: o["LastModified"] for o in store.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert {Path(key).name for key in times} == {p.name for p in local.iterdir() if not p.name.startswith(".")}
    again = kept(tmp_path / "b")  # another machine: nothing is prepared there
    assert not (tmp_path / "b" / "data").exists()
    assert {o["Key"]: o["LastModified"] for o in store.list_objects_v2(Bucket=BUCKET)["Contents"]} == times
    manifest = verify(again)
    assert manifest == verify(remote) == Manifest.read(local)
    index = np.array([1400, 3, 700, 3])
    ours, theirs = gather(again, manifest, "train", index), gather(local, manifest, "train", index)
    np.testing.assert_array_equal(ours.raw, theirs.raw)
    np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_the_cache_goes_by_content_repairs_itself_and_keeps_to_its_limit(store: Any, tmp_path: Path) -> None:
    remote = kept(tmp_path)
    manifest = Manifest.read(remote)
    shards = manifest.shards("train")
    for shard in shards:
        content = remote.content(shard.file, shard.sha256)
        assert hashlib.sha256(content).hexdigest() == shard.sha256
    assert {path.name for path in remote.cache.iterdir()} == {shard.sha256 for shard in shards}
    file = remote.cache / shards[0].sha256
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    assert remote.content(shards[0].file, shards[0].sha256) == whole == file.read_bytes()
    # What is cached is not asked of the store.
    held = Remote(places.at("s3://no-such-bucket/x"), remote.cache, GENEROUS)
    assert held.content("anything", shards[1].sha256) == remote.content(shards[1].file, shards[1].sha256)
    small = Remote(remote.place, tmp_path / "small", 3 * shards[0].bytes)
    for shard in shards:
        small.content(shard.file, shard.sha256)
    assert [(small.cache / shard.sha256).exists() for shard in shards] == [False, False, False, True, True, True]
    none = Remote(remote.place, tmp_path / "none", 0)
    none.content(shards[0].file, shards[0].sha256)
    assert not none.cache.exists()


@pytest.mark.parametrize("damage", ["lost", "cut", "flipped"])
def test_a_damaged_object_is_named_and_prepare_repairs_it(store: Any, tmp_path: Path, damage: str) -> None:
    remote, key = kept(tmp_path), "sets/digits-1/train-00002.parquet"
    verify(kept(tmp_path / "runs"))  # the cache of the command that repairs has all shards, and must not hide it
    body = store.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    changed = {"cut": body[:-9], "flipped": body[:500] + bytes([body[500] ^ 1]) + body[501:]}
    if damage == "lost":
        store.delete_object(Bucket=BUCKET, Key=key)
    else:
        store.put_object(Bucket=BUCKET, Key=key, Body=changed[damage])
    with pytest.raises(UserError, match=r"The shard train-00002\.parquet of the data set digits-1 is"):
        verify(remote)
    if damage != "flipped":  # its size is right: only reading it tells
        with pytest.raises(UserError, match=r"train-00002\.parquet"):
            check(remote)
    said = here(tmp_path, "prepare", "digits-tiny", f"storage.data={KEPT}")
    assert f"{KEPT}/digits-1" in said.output
    assert verify(Remote(remote.place, tmp_path / "fresh", 0)) == Manifest.read(remote)


@pytest.mark.parametrize("name", ["photos32-ndm", "photos32-vdm"])
def test_a_training_reads_its_shards_from_the_store(name: str, store: Any, tmp_path: Path) -> None:
    small = (
        "network={kind: mlp, width: 16, depth: 1}",
        *(["transform.network={kind: mlp, width: 16, depth: 1}"] if name == "photos32-ndm" else []),
        "data.stride=32",
        "training.examples=1024",
        "scaling.workers=1",
        "samples.quality=false",
        "monitor={log_every: 256, validate_every: 512, checkpoint_every: 512, validation_draws: 1}",
        "evaluation.draws=1",
        "sampler.steps=2",
        "run.name=photos",
        f"storage.data={KEPT}",
    )
    here(tmp_path, "train", name, *small)
    results = json.loads((tmp_path / "runs/photos/results.json").read_text())
    names = {Path(o["Key"]).name for o in store.list_objects_v2(Bucket=BUCKET, Prefix="sets/photos32")["Contents"]}
    assert FILE in names
    assert results["likelihood"]["scores"][0]["images"] == 2 * 13 * 3  # of the two photographs' last bands
    assert len(records(tmp_path / "runs/photos", "train/examples_checksum")) == 4
    assert list((tmp_path / "runs/.cache/shards").iterdir())
    record = json.loads((tmp_path / "runs/photos/experiment.json").read_text())
    assert record["storage"]["data"] == KEPT


def test_the_data_sets_of_a_store_are_listed_shown_and_verified(store: Any, tmp_path: Path) -> None:
    manifest = Manifest.read(kept(tmp_path))
    (line,) = [line for line in here(tmp_path, "data", "list", KEPT).output.splitlines() if "digits-1" in line]
    assert "1,437 + 180 + 180 examples of 1x8x8" in line
    assert manifest.hash[:12] in line
    assert manifest.hash in here(tmp_path, "data", "show", "digits-1", f"storage.data={KEPT}").output
    whole = f"digits-1 is whole: hash {manifest.hash}"
    assert whole in here(tmp_path, "data", "verify", f"{KEPT}/digits-1").output
    assert whole in here(tmp_path, "data", "verify", KEPT, "digits-1").output
    assert "none" in here(tmp_path, "data", "list", f"s3://{BUCKET}/nothing-here").output
    assert "There is no data set digits-2 in s3://prepared/sets: " in refusal(
        tmp_path, "data", "show", "digits-2", f"storage.data={KEPT}"
    )
    assert "There is no bucket s3://no-such-bucket" in refusal(tmp_path, "data", "list", "s3://no-such-bucket/x")
    assert not (tmp_path / "runs" / "data").exists()


def test_a_bucket_that_is_not_there_is_told_before_anything_is_prepared(store: Any, tmp_path: Path) -> None:
    sentence = refusal(tmp_path, "prepare", "digits-tiny", "storage.data=s3://no-such-bucket/sets")
    assert sentence == "There is no bucket s3://no-such-bucket: create it, or correct storage.data=...\n"
    assert not (tmp_path / "runs" / "data").exists()


def test_a_store_that_is_down_is_told_before_anything_is_prepared(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    places.filesystem.cache_clear()
    sentence = refusal(tmp_path, "train", "digits-tiny", f"storage.data={KEPT}")
    places.filesystem.cache_clear()
    assert "the store does not answer" in sentence
    assert "storage.data=" in sentence
    assert not (tmp_path / "runs" / "data").exists()


def test_checkpoints_in_a_store_are_those_of_a_disk_and_can_be_scored(
    store: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected = uninterrupted(tmp_path_factory.getbasetemp()).run
    there = ("run.name=remote", f"storage.checkpoints=s3://{BUCKET}/runs")
    here(tmp_path, "train", *TINY, *there)
    run = tmp_path / "runs" / "remote"
    assert not (run / "checkpoints").exists()
    names = {o["Key"].split("/")[2] for o in store.list_objects_v2(Bucket=BUCKET, Prefix="runs/")["Contents"]}
    assert names - {""} == {"000000003840", "000000005120"}
    for part, content in tensors(expected, 5120).items():
        key = f"runs/remote/000000005120/{part}.safetensors"
        assert store.get_object(Bucket=BUCKET, Key=key)["Body"].read() == content
    assert Tracked(tmp_path / "runs").run.data.tags["checkpoints"] == f"s3://{BUCKET}/runs/remote"
    said = here(tmp_path, "evaluate", "remote@best", "estimator=elbo_cont_k4")
    assert "test-elbo_cont_k4-at-5120.parquet" in said.output
    sentence = refusal(tmp_path, "train", *TINY, *there, "--fresh")
    assert sentence.startswith(f"--fresh leaves the checkpoints of an earlier remote where they are, in s3://{BUCKET}/")
    assert (run / "results.json").is_file()
    sentence = refusal(tmp_path, "train", *TINY, "run.name=nowhere", "storage.checkpoints=s3://there-is-none/runs")
    assert sentence == "There is no bucket s3://there-is-none: create it, or correct storage.checkpoints=...\n"
    assert f"There is no usable checkpoint in s3://{BUCKET}/other/remote yet" in refusal(
        tmp_path, "evaluate", "remote", f"storage.checkpoints=s3://{BUCKET}/other"
    )
