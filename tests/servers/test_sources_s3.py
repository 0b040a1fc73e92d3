"""Every source of files reads them from an S3 store as from a disk; what a store refuses is a sentence without keys."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import originals
import pytest
import requests

from ndm.data import places
from ndm.data.prepare import prepare
from ndm.data.shards import verify
from ndm.errors import UserError
from ndm.registry import variant

BUCKET = "originals"
WRITERS = {
    **originals.WRITERS,
    "cifar10, packed": originals.cifar10_packed,
    "cifar10, pickled": originals.cifar10_pickled(originals.python_2),
    "imagenet, parquet": originals.imagenet_parquet,
}


@pytest.fixture(scope="module", autouse=True)
def _bucket(store: Any) -> None:
    store.create_bucket(Bucket=BUCKET)


def upload(store: Any, folder: Path, prefix: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            store.put_object(Bucket=BUCKET, Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())


@pytest.mark.parametrize("name", WRITERS)
def test_a_store_gives_what_the_disk_gives(name, store, tmp_path):
    (tmp_path / "disk").mkdir()
    written = WRITERS[name](tmp_path / "disk")
    prefix = name.replace(", ", "-")
    upload(store, tmp_path / "disk", prefix)
    config = variant("ndm.data.sources", name.partition(",")[0]).Config(**written.keys)
    below = Path(written.keys["path"]).relative_to(tmp_path / "disk").as_posix()
    uri = f"s3://{BUCKET}/{prefix}" + (f"/{below}" if below != "." else "")
    remote = config.model_copy(update={"path": uri})
    assert remote.identity() == config.identity()
    for here, there in zip(config.open().parts, remote.open().parts, strict=True):
        np.testing.assert_array_equal(here.read().raw, there.read().raw)
        np.testing.assert_array_equal(here.read().labels, there.read().labels)
    if name == "mnist":
        manifests = [verify(prepare(c, tmp_path / f"prepared-{i}")) for i, c in enumerate((config, remote))]
        assert manifests[0] == manifests[1]


def refused(path: str) -> str:
    config = variant("ndm.data.sources", "mnist").Config(path=path, originals=False, held_out=4)
    with pytest.raises(UserError) as caught:
        config.open()
    text = str(caught.value)
    assert text.isprintable()
    for variable in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert os.environ[variable] not in text
    return text


def test_what_is_not_in_the_store_is_a_sentence(store):
    assert "There is nothing at s3://originals/nowhere" in refused(f"s3://{BUCKET}/nowhere")
    assert "data.path=" in refused("s3://no-such-bucket/data")
    store.put_object(Bucket=BUCKET, Key="half/train-images-idx3-ubyte.gz", Body=b"half")
    assert "s3://originals/half has no train-labels-idx1-ubyte(.gz)" in refused(f"s3://{BUCKET}/half")


def test_a_store_that_refuses_the_keys_is_a_sentence(store, endpoint):
    places.filesystem.cache_clear()
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=10)  # from now on, keys are looked at
    try:
        text = refused(f"s3://{BUCKET}/mnist")
    finally:
        requests.post(f"{endpoint}/moto-api/reset-auth", data=b"inf", timeout=10)
    assert "AWS_ACCESS_KEY_ID" in text
    assert "s3://originals/mnist" in text


def test_a_store_that_is_down_is_a_sentence(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    places.filesystem.cache_clear()
    started = time.monotonic()
    text = refused(f"s3://{BUCKET}/mnist")
    assert time.monotonic() - started < 60
    places.filesystem.cache_clear()
    assert "does not answer" in text
    assert "AWS_ENDPOINT_URL" in text
