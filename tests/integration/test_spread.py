"""Preparation over Ray tasks: what one process writes, byte for byte, and the sentence of whichever task refuses."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ray.cloudpickle import register_pickle_by_value, unregister_pickle_by_value

from ndm.data import prepare as preparation
from ndm.data.manifest import FILE
from ndm.data.prepare import prepare
from ndm.data.sources import Examples, Opened, Part, rings
from ndm.data.sources._base import SPLITS
from ndm.errors import UserError
from ndm.runtime.spread import spread

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("embedded_ray")]


class Slice(Part):
    """Some of the examples of a ring; the part numbered `bad` refuses."""

    def __init__(self, number: int, bad: int | None) -> None:
        self.number, self.bad = number, bad

    @property
    def rows(self) -> int:
        return 50

    def read(self) -> Examples:
        if self.number == self.bad:
            raise UserError(f"The part {self.number} is damaged; fetch it again.")
        whole = rings.LAW.draw(50 * (self.number + 1), "train")
        return Examples(whole.raw[-50:], whole.labels[-50:])


class Sliced(rings.Config):
    bad: int | None = None

    def open(self) -> Opened:
        rows = np.array_split(np.arange(800), 3)
        return Opened([Slice(i, self.bad) for i in range(16)], dict(zip(SPLITS, rows, strict=True)))


@pytest.fixture(autouse=True)
def _large_and_by_value(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tasks import the platform, not its tests; and what is small here is spread all the same."""
    monkeypatch.setattr(preparation, "LARGE", 0)
    register_pickle_by_value(sys.modules[__name__])
    yield
    unregister_pickle_by_value(sys.modules[__name__])


def test_many_tasks_write_what_one_process_writes(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    alone = prepare(Sliced(), tmp_path / "alone", rows_per_shard=30)
    spreaded = prepare(
        Sliced(),
        tmp_path / "spread",
        rows_per_shard=30,
        each=spread(tmp_path),
        progress=lambda *call: calls.append(call),
    )
    files = sorted(path.name for path in alone.glob("*.parquet"))
    assert len(files) > 8
    assert files == sorted(path.name for path in spreaded.glob("*.parquet"))
    for name in (*files, FILE):
        assert (alone / name).read_bytes() == (spreaded / name).read_bytes()
    assert calls[-1] == (800, 800)


def test_the_refusal_of_a_task_is_its_own_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        prepare(Sliced(bad=11), tmp_path, rows_per_shard=30, each=spread(tmp_path))
    assert type(caught.value) is UserError
    assert str(caught.value) == "The part 11 is damaged; fetch it again."
