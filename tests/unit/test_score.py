"""Per-image tables: whole or refused, independent of blocks and batches, and summed up by the formula."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ndm import presets
from ndm.evaluation.sample import draw
from ndm.evaluation.score import PARTS, assemble, read, score, summary, write
from ndm.likelihood.estimators import Bound

THREE = Bound("elbo_cont_k3", None, 3)


@pytest.fixture(scope="module")
def table(objective, raw) -> pa.Table:
    return score(objective, raw, 0, THREE, seed=1, batch=len(raw))


def test_a_table_has_a_row_for_each_image_and_the_terms_add_up(raw, table):
    assert table.column_names == ["id", "nats", "estimator", "draws", *PARTS, "diffusion_by_time"]
    assert table.column("id").to_pylist() == list(range(len(raw)))
    terms = sum(table.column(name).to_numpy() for name in PARTS)
    np.testing.assert_allclose(table.column("nats").to_numpy(), terms, rtol=1e-14)
    assert all(table.schema.field(name).type == pa.float64() for name in ("nats", *PARTS))
    assert len(set(table.column("nats").to_pylist())) == len(raw)


@pytest.mark.parametrize(("block", "batch"), [(8, 3), (4, 4), (3, 2), (1, 1)])
def test_an_image_has_its_score_in_any_block_and_batch(objective, raw, table, block, batch):
    parts = [
        score(objective, raw[start : start + block], start, THREE, seed=1, batch=batch)
        for start in range(0, len(raw), block)
    ]
    whole = assemble(parts[::-1], len(raw))
    assert whole.column("id").to_pylist() == list(range(len(raw)))
    for name in ("nats", *PARTS):
        np.testing.assert_allclose(whole.column(name).to_numpy(), table.column(name).to_numpy(), rtol=1e-5, atol=1e-5)


def test_draws_are_those_of_the_seed(objective, raw, table):
    again = score(objective, raw, 0, THREE, seed=1, batch=len(raw))
    other = score(objective, raw, 0, THREE, seed=2, batch=len(raw))
    assert again.equals(table)
    assert not other.column("nats").equals(table.column("nats"))
    assert other.column("prior").equals(table.column("prior"))


@pytest.mark.parametrize("ids", [[0, 1, 2, 2], [0, 1, 3], [1, 2, 3], [0, 1, 2, 3, 4], [], [0, 0, 1, 2, 3]], ids=str)
def test_an_image_that_is_missing_scored_twice_or_not_of_the_split_is_refused(ids):
    blocks = [pa.table({"id": pa.array([i], pa.int64()), "nats": [1.0]}) for i in ids]
    blocks = blocks or [pa.table({"id": pa.array([], pa.int64()), "nats": pa.array([], pa.float64())})]
    with pytest.raises(RuntimeError, match="not the split, each exactly once"):
        assemble(blocks, 4)


def test_a_file_holds_the_table_and_how_it_was_made(table, tmp_path):
    recipe = {"estimator": "elbo_cont_k3", "split": "test", "data": {"hash": "ab", "ü": None}, "seed": 1}
    path = tmp_path / "likelihood" / "test.parquet"
    write(table, path, recipe)
    write(table, path, recipe)
    again, made = read(path)
    assert made == recipe
    assert again.equals(table)
    assert json.loads(pq.read_schema(path).metadata[b"ndm"]) == recipe
    assert [file.name for file in path.parent.iterdir()] == ["test.parquet"]


def test_the_summary_is_the_mean_and_its_standard_error_over_images(table):
    dimensions = 4
    found = summary(table, dimensions, seed=0)
    assert set(found) == {"bits_per_dim", *PARTS, "by_time"}
    low, high = found["bits_per_dim"].pop("low"), found["bits_per_dim"].pop("high")
    assert low < found["bits_per_dim"]["value"] < high
    for name, column in {"bits_per_dim": "nats", **{c: c for c in PARTS}}.items():
        bits = table.column(column).to_numpy() / (dimensions * math.log(2))
        error = math.sqrt(((bits - bits.mean()) ** 2).sum() / (len(bits) - 1) / len(bits))
        assert found[name] == pytest.approx({"value": bits.mean(), "error": error}, rel=1e-12)
    assert found["bits_per_dim"]["value"] == pytest.approx(sum(found[c]["value"] for c in PARTS), abs=1e-12)


def test_the_standard_error_of_one_image_is_unknown(table):
    assert math.isnan(summary(table.slice(0, 1), 4, seed=0)["bits_per_dim"]["error"])


@pytest.mark.parametrize("kind", ["ancestral", "ode"])
def test_samples_are_the_same_in_any_batches(objective, kind):
    sampler = presets.load("digits-tiny", [f"sampler.kind={kind}"]).sampler.build(None)
    whole, evaluations = draw(sampler, objective.model, 6, seed=5, batch=6)
    parts, most = draw(sampler, objective.model, 6, seed=5, batch=2 if kind == "ancestral" else 6)
    assert torch.equal(whole, parts)
    assert evaluations == most > 0
    assert (whole.shape, whole.dtype) == ((6, *objective.model.shape), torch.uint8)
    fewer, _ = draw(sampler, objective.model, 3, seed=5, batch=6)
    assert kind == "ode" or torch.equal(fewer, whole[:3])
    assert not torch.equal(whole, draw(sampler, objective.model, 6, seed=6, batch=6)[0])
