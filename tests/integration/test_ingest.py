"""Batches through a real Ray Data are those of the order, from any start, on any number of ranks, over epochs."""

import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from ndm.data import ingest
from ndm.data.blocks import BLOCKS_PER_SPAN, SPANS, Plan
from ndm.data.ingest import Batch
from ndm.data.manifest import Manifest
from ndm.data.order import Order
from ndm.data.prepare import prepare
from ndm.data.shards import read_rows
from ndm.data.sources import digits, rings
from ndm.errors import UserError

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("embedded_ray"),
    pytest.mark.filterwarnings("default"),  # Ray's warnings are Ray's
]

BATCH = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return prepare(digits.Config(), tmp_path_factory.mktemp("data"), rows_per_shard=100)


def follow(folder: Path, **where: int) -> Iterator[Batch]:
    manifest = Manifest.read(folder)
    order = Order.of(manifest, "train", seed=3, streams=8)
    return ingest.batches(folder, manifest, order, batch_size=BATCH, steps_per_block=3, **where)


def read(folder: Path, **where: int) -> list[Batch]:
    return list(follow(folder, **where))


def test_the_batches_are_those_of_the_order_from_any_start_over_epochs(folder):
    manifest = Manifest.read(folder)
    order = Order.of(manifest, "train", seed=3, streams=8)
    rows = read_rows(folder, manifest, "train", 0, manifest.rows("train")).raw
    start, stop = 1003, 7000  # within the first of five epochs; two spans of blocks
    batches = read(folder, start=start, stop=stop)
    assert [b.position for b in batches] == list(range(start, stop, BATCH))
    assert len(batches) > 3 * BLOCKS_PER_SPAN
    for batch in batches:
        expected = order.batch(batch.position, BATCH)
        assert batch.raw.dtype == torch.uint8
        np.testing.assert_array_equal(batch.index, expected)
        np.testing.assert_array_equal(batch.raw, rows[expected])


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_have_the_parts_of_the_same_batches(folder, world):
    """Whole streams of eight: four and four, or two, three and three."""
    where = {"start": 640, "stop": 2000}
    ranks = [follow(folder, rank=rank, world=world, **where) for rank in range(world)]
    for whole, *parts in zip(follow(folder, **where), *ranks, strict=True):
        assert {part.position for part in parts} == {whole.position}
        streams = [8 * (rank + 1) // world - 8 * rank // world for rank in range(world)]
        assert [len(part.raw) for part in parts] == [n * BATCH // 8 for n in streams]
        assert torch.equal(torch.cat([part.raw for part in parts]), whole.raw)
        assert torch.equal(torch.cat([part.index for part in parts]), whole.index)


def test_continuous_data_and_writable_tensors(tmp_path):
    folder = prepare(rings.Config(examples=300), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # torch's, of memory that is not writable
        (batch,) = read(folder, start=0, stop=BATCH)
    assert batch.raw.dtype == torch.float32
    assert batch.raw.shape == (BATCH, 2)
    expected = torch.from_numpy(read_rows(folder, Manifest.read(folder), "train", 0, 300).raw)[batch.index]
    assert torch.equal(batch.raw, expected)
    batch.raw.add_(1)
    assert torch.equal(batch.raw, expected + 1)


def test_a_run_of_any_length_starts_with_few_tasks(folder):
    manifest = Manifest.read(folder)
    order = Order.of(manifest, "train", seed=3, streams=8)
    plan = Plan(folder, manifest, order, 0, 10**12, BATCH, 0, 1, steps_per_block=3)
    assert plan.spans <= SPANS
    endless = ingest.batches(folder, manifest, order, start=0, stop=10**12, batch_size=BATCH)
    assert [next(endless).position for _ in range(100)] == list(range(0, 100 * BATCH, BATCH))


def test_nothing_left_to_read(folder):
    assert read(folder, start=1000, stop=1000) == []


def test_a_damaged_shard_is_told_in_its_own_sentence(folder, tmp_path):
    damaged = Path(shutil.copytree(folder, tmp_path / folder.name))
    shard = damaged / "train-00004.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(UserError) as caught:
        read(damaged, start=0, stop=1437)
    assert type(caught.value) is UserError
    assert str(caught.value).startswith("The shard train-00004.parquet of the data set digits-1 is damaged: it has ")
    assert str(caught.value).endswith("prepare it again with: ndm prepare EXPERIMENT")


def test_a_world_that_does_not_fit_is_refused_at_once(folder):
    with pytest.raises(UserError, match=r"scaling\.workers=9"):
        follow(folder, start=0, stop=100, rank=0, world=9)


def test_a_fifth_of_a_cpu_is_enough(folder):
    """What the launcher has to leave free of a machine that the training workers hold."""

    @ray.remote(num_cpus=ray.cluster_resources()["CPU"] - ingest.READERS * ingest.TASK_CPUS)
    class Worker:
        def ready(self) -> bool:
            return True

    worker = Worker.remote()
    ray.get(worker.ready.remote())
    assert len(read(folder, start=0, stop=6400)) == 100
    ray.kill(worker)


def test_a_reading_process_needs_neither_torch_nor_ray():
    """It imports `ndm.data.blocks` and nothing else of ours."""
    script = "import sys, ndm.data.blocks; print(sorted({'torch', 'ray'} & set(sys.modules)))"
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "platform")}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
