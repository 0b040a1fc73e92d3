"""Checkpoints in an S3 store: what a disk promises, and no answer of a failing store is taken for a missing one."""

import logging
from typing import Any

import pytest
import torch
from faults import Faults, between

from ndm.data import places
from ndm.errors import UserError
from ndm.runtime import storage
from ndm.runtime.storage import Bucket
from ndm.training import checkpoint
from ndm.training.saver import Saver

BUCKET = "checkpoints"
META = {"experiment": "ab"}


@pytest.fixture(scope="module", autouse=True)
def _bucket(store: Any) -> None:
    store.create_bucket(Bucket=BUCKET)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.01)


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Bucket:
    return Bucket(places.at(f"s3://{BUCKET}/{request.node.name}"))


def tensors(position: int) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(position)
    weights = {"w": torch.randn(3000, generator=generator)}
    return {"model": weights, "ema": weights, "optimizer": {"w/step": torch.tensor(float(position))}}


def same(found: checkpoint.Checkpoint | None, position: int) -> bool:
    assert found is not None
    expected = tensors(position)
    return found.position == position and all(
        torch.equal(found.tensors[part][name], value) for part in expected for name, value in expected[part].items()
    )


def keys(store: Any, home: Bucket) -> set[str]:
    found = store.list_objects_v2(Bucket=BUCKET, Prefix=f"{home.place.name}/").get("Contents", [])
    return {entry["Key"] for entry in found if not entry["Key"].endswith("/")}


def test_a_store_keeps_what_a_disk_keeps(store: Any, home: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    assert checkpoint.latest(home) is None
    for position, bound in {10: 1.0, 20: 3.0, 30: 2.0, 40: None}.items():
        checkpoint.write(home, position, tensors(position), META | {"validation": bound}, keep=2)
    assert checkpoint.candidates(home) == ["000000000040", "000000000030", "000000000010"]
    assert checkpoint.best(home) == "000000000010"
    assert len(keys(store, home)) == 3 * 4
    assert same(checkpoint.latest(home), 40)
    store.put_object(Bucket=BUCKET, Key=f"{home.place.name}/000000000040/ema.safetensors", Body=b"other bytes")
    store.put_object(Bucket=BUCKET, Key=f"{home.place.name}/000000000050/model.safetensors", Body=b"an upload cut off")
    with caplog.at_level(logging.WARNING):
        assert same(checkpoint.latest(home), 30)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("ndm")]
    assert messages == ["Checkpoint 000000000040 is passed over: ema.safetensors is not what the manifest says."]
    checkpoint.write(home, 40, tensors(40), META, keep=2)
    assert same(checkpoint.latest(home), 40)


def test_a_kill_between_any_two_requests_leaves_a_good_one(home: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is whole at every moment, also while the newest is being replaced."""

    class Killed(BaseException):
        pass

    checkpoint.write(home, 10, tensors(10), META, keep=2)
    real, left = storage.again, 0

    def counted(operation: Any) -> Any:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        return real(operation)

    for calls in range(1, 40):
        checkpoint.write(home, 20, tensors(20), META, keep=2)
        with monkeypatch.context() as patch:
            patch.setattr(storage, "again", counted)
            left = calls
            try:
                checkpoint.write(home, 20, tensors(21), META, keep=2, good={"000000000010": 0.0})
            except Killed:
                finished = False
            else:
                finished = True
        found = checkpoint.latest(home)
        assert found is not None
        assert found.position in (10, 20)
        if finished:
            assert calls >= 6
            return
    pytest.fail("a write has fewer than 40 requests")


def test_nothing_is_lost_in_a_store_that_fails_one_request_in_seven(endpoint: str, home: Bucket) -> None:
    faults = Faults(0.15, seed=1)
    with between(endpoint, faults) as address:
        options = f"?endpoint_override={address}&scheme=http"
        failing = Bucket(places.at(f"s3://{home.place.path}{options}"))
        for position in range(10, 80, 10):
            checkpoint.write(failing, position, tensors(position), META, keep=2)
            assert same(checkpoint.latest(failing), position)
    assert same(checkpoint.latest(home), 70)
    assert checkpoint.candidates(home) == ["000000000070", "000000000060"]
    assert all(faults.seen[kind] for kind in ("error", "throttled", "reset", "slow", "cut")), faults.seen


def test_a_store_that_is_away_is_no_empty_store(endpoint: str, home: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    checkpoint.write(home, 10, tensors(10), META, keep=2)
    faults, told = Faults(0.0), list[int]()
    with between(endpoint, faults) as address:
        failing = Bucket(places.at(f"s3://{home.place.path}?endpoint_override={address}&scheme=http"))
        assert same(checkpoint.latest(failing), 10)
        saver = Saver(failing, 2, lambda position, reason: told.append(position))
        faults.away = True
        with pytest.raises(UserError, match=r"store does not answer.*storage\.checkpoints"):
            checkpoint.latest(failing)
        saver.save(20, tensors(20), META)
        saver.save(30, tensors(30), META)
        assert told == [20]
        with pytest.raises(OSError, match=r"AWS Error|HTTP"):
            saver.close()
        faults.away = False
        again = Saver(failing, 2, lambda position, reason: told.append(position))
        again.save(40, tensors(40), META)
        again.close()
    assert told == [20]
    assert checkpoint.candidates(home) == ["000000000040", "000000000010"]
