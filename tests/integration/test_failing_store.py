"""A whole training on a store that fails at every tenth request: nothing is lost, and what is pulled is verified."""

from pathlib import Path
from typing import Any

import pytest
from commands import checkpoints, here, likelihood, records, tensors
from faults import KINDS, Faults, between

from ndm.runs import RunFolder
from ndm.runtime.shelf import Shelf
from ndm.training import checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("embedded_ray")]

SMALL = (
    "digits-tiny",
    "training.examples=2560",
    "monitor.log_every=256",
    "monitor.checkpoint_every=256",
    "samples.quality=false",
    "run.name=one",
    "scaling.workers=1",
)


def test_a_training_on_a_failing_store_is_pulled_whole(endpoint: str, store: Any, tmp_path: Path) -> None:
    store.create_bucket(Bucket="failing")
    undisturbed, away, home = (tmp_path / name for name in ("undisturbed", "away", "home"))
    for folder in (undisturbed, away, home):
        folder.mkdir()
    here(undisturbed, "train", *SMALL)
    faults = Faults(0.1, seed=3)
    with between(endpoint, faults) as proxy:
        place = f"s3://failing/all?endpoint_override={proxy}&scheme=http&region=us-east-1"
        here(away, "train", *SMALL, f"storage.store={place}")
        here(home, "pull", "one", f"store={place}")
        listing = Shelf.of(place).require("one")
    assert sum(faults.seen[kind] for kind in KINDS) >= 10, faults.seen
    run, expected = RunFolder(home / "runs" / "one"), undisturbed / "runs" / "one"
    assert listing.wanting(run.path) == []
    assert checkpoints(run.path) == checkpoints(expected) == [2304, 2560]
    for position in checkpoints(run.path):
        checkpoint.verify(run.checkpoints, f"{position:012d}")
        assert tensors(run.path, position) == tensors(expected, position)
    assert likelihood(run.path).equals(likelihood(expected))
    assert records(run.path, "train/bits_per_dim") == records(expected, "train/bits_per_dim")
