"""Which images are mirrored is a function of (seed, position); the key for it is one of images, and off."""

import numpy as np
import originals
import pytest
import torch

from ndm import presets
from ndm.errors import UserError
from ndm.training.flips import flipped
from ndm.training.step import Slots

SHAPE = (3, 4, 6)
MIRRORED = [0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1]
"""At the positions 0 .. 15 of seed 0: another answer would change trainings that are under way."""


def images(count: int) -> torch.Tensor:
    """None of them its own mirror image, and their columns all different."""
    return torch.arange(count * 72).reshape(count, *SHAPE).to(torch.int32)


def mirrored(seed: int, position: int, count: int, first: int = 0, part: int | None = None) -> list[int]:
    raw = images(part or count)
    found = flipped(raw, seed, Slots(position, count, first, part or count))
    which = [int(not torch.equal(a, b)) for a, b in zip(found, raw, strict=True)]
    expected = [np.asarray(x)[:, :, ::-1] if m else np.asarray(x) for x, m in zip(raw, which, strict=True)]
    np.testing.assert_array_equal(found, np.stack(expected))
    return which


def test_a_mirrored_image_has_its_columns_in_the_other_order_and_no_other_change() -> None:
    raw = images(16)
    before = raw.clone()
    assert mirrored(0, 0, 16) == MIRRORED
    flipped(raw, 0, Slots(0, 16, 0, 16))
    assert torch.equal(raw, before)


def test_the_position_alone_decides() -> None:
    whole = mirrored(5, 640, 64)
    assert whole == mirrored(5, 640, 24) + mirrored(5, 664, 40)  # in other batches
    for world in (2, 4, 8):  # on more workers
        part = 64 // world
        assert whole == [m for rank in range(world) for m in mirrored(5, 640, 64, rank * part, part)]
    assert whole != mirrored(6, 640, 64)
    assert whole != mirrored(5, 704, 64)


def test_a_half_is_mirrored_and_a_row_is_seen_both_ways_over_the_epochs() -> None:
    assert sum(mirrored(1, 10**9, 10_000)) == pytest.approx(5000, abs=200)
    epochs = [mirrored(1, epoch * 1000, 1)[0] for epoch in range(20)]
    assert set(epochs) == {0, 1}


def test_it_is_a_key_of_the_experiment() -> None:
    off, on = (presets.load("photos32-ndm", [f"data.flip={flip}"]) for flip in ("false", "true"))
    assert off == presets.load("photos32-ndm")
    assert on.flat(deciding=True)["data.flip"] is True
    assert on.digest() != off.digest()


def test_the_presets_of_the_paper_that_flips_do() -> None:
    on = {name for name in presets.names() if presets.load(name).flat().get("data.flip")}
    assert on == {"cifar10-ndm", "imagenet32-oord-ndm", "imagenet32-chrabaszcz-ndm", "imagenet64-oord-ndm"}


@pytest.mark.parametrize("name", ["digits-tiny", "rings-ndm"])
def test_what_has_no_mirror_image_has_no_such_key(name: str) -> None:
    with pytest.raises(UserError, match=r"data\.flip"):
        presets.load(name, ["data.flip=true"])


def test_points_are_not_mirrored(tmp_path) -> None:
    np.save(tmp_path / "points.npy", np.zeros((40, 2), np.float32))
    points = presets.load("rings-ndm", ["data.kind=arrays", f"data.path={tmp_path}/points.npy", "data.flip=true"]).data
    with pytest.raises(UserError, match=r"data\.flip=true mirrors images, but .*points\.npy holds points"):
        points.identity()
    pictures = presets.load("rings-ndm", ["data.kind=arrays", "data.layout=NHWC", "data.flip=true"]).data
    keys = originals.arrays(tmp_path).keys
    assert pictures.model_copy(update={"path": keys["path"]}).shape == (3, 16, 16)
