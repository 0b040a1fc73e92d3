"""Streams: values by position alone, of the right law, and never silently others."""

import itertools

import pytest
import torch
from scipy import stats

from ndm.randomness import Stream

STARTS = [0, 7, 2**32 - 3, 2**62 - 3, 2**70]
SHAPES = [(), (1,), (3,), (2, 2, 3), (17,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("start", STARTS)
def test_a_slice_is_what_a_longer_draw_has_there(start, shape):
    """Across 2^32, across the carry of the counter's first word, and for sizes that leave words unused."""
    stream = Stream(3, "test")
    for draw in (stream.uniform, stream.normal):
        whole = draw(start, 9, shape)
        assert whole.shape == (9, *shape)
        for first, count in ((0, 1), (2, 4), (8, 1)):
            assert torch.equal(draw(start + first, count, shape), whole[first : first + count])
        assert len(whole.reshape(9, -1).unique(dim=0)) == 9


def test_streams_differ_by_seed_and_by_every_part_of_the_name():
    names = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", 1), (0, "a", "0"), (0, "a0"), (0,)]
    draws = [Stream(*name).normal(0, 4000, (), torch.float64) for name in names]
    for a, b in itertools.combinations(draws, 2):
        assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.08


def test_no_randomness_beside_the_arguments():
    torch.manual_seed(1)
    first = Stream(5, "x").normal(0, 3)
    torch.manual_seed(2)
    assert torch.equal(Stream(5, "x").normal(0, 3), first)


@pytest.mark.parametrize("shape", [(), (3,), (4,), (7,)])
def test_uniforms_are_uniform(shape):
    u = Stream(11, "uniform").uniform(10, 20_000 // max(1, sum(shape)), shape)
    assert u.dtype == torch.float64
    for column in u.reshape(len(u), -1).T:
        assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-3
    flat = u.flatten()
    assert float(flat.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(torch.corrcoef(torch.stack([flat[1:], flat[:-1]]))[0, 1]) == pytest.approx(0, abs=0.03)


def test_uniforms_never_reach_the_ends():
    """Odd multiples of 2^-53: neither zero nor one is among them, and float64 holds each exactly."""
    u = Stream(2, "ends").uniform(0, 10_000)
    assert torch.equal((u * 2.0**53) % 2, torch.ones_like(u))
    assert (u > 0.99).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (4,), (7,)])
def test_normals_are_normal(shape, dtype):
    z = Stream(12, "normal").normal(5, 20_000 // max(1, sum(shape)), shape, dtype)
    assert z.dtype == dtype
    columns = z.double().reshape(len(z), -1).T
    for column in columns:
        assert stats.kstest(column.numpy(), "norm").pvalue > 1e-3
    flat = columns.flatten()
    assert float(flat.mean()) == pytest.approx(0, abs=0.03)
    assert float(flat.square().mean()) == pytest.approx(1, abs=0.04)
    assert float(flat.pow(4).mean()) == pytest.approx(3, abs=0.25)
    if len(columns) > 1:  # of one pair, of neighbours: also in their sizes, which share a radius
        for data in (columns, columns.square()):
            off = torch.corrcoef(data) - torch.eye(len(columns), dtype=torch.float64)
            assert float(off.abs().max()) < 0.06


def test_single_precision_normals_are_the_rounded_double_ones():
    stream = Stream(4, "precision")
    single, double = (stream.normal(0, 5000, (2,), dtype) for dtype in (torch.float32, torch.float64))
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4)


def test_values_are_frozen():
    """Every stored result depends on these: a change here is a change of every experiment."""
    assert Stream(0, "frozen").uniform(5, 2).tolist() == FROZEN_UNIFORM
    assert Stream(1, "frozen", 2).normal(2**40, 1, (3,), torch.float64)[0].tolist() == pytest.approx(
        FROZEN_NORMAL, rel=1e-12
    )


FROZEN_UNIFORM = [0.4220630222860008, 0.5769590310780192]
FROZEN_NORMAL = [-1.4976648237114687, 0.1663031513954014, 0.4083085575772168]
