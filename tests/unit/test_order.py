"""The order of examples is a pure function of the position: checked against a plain retelling of its definition."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndm.data.order import Order
from ndm.data.permutation import permutation
from ndm.errors import UserError

SHARDS = st.lists(st.integers(1, 40), min_size=1, max_size=8)
STREAMS = st.sampled_from([1, 2, 3, 4, 6, 8, 12])
WINDOW = st.integers(1, 30)
ORDERS = st.builds(Order, SHARDS, st.just("hash"), st.integers(0, 3), STREAMS, WINDOW)
GOLDEN_START = [558, 610, 283, 406, 475, 15, 147, 176]
GOLDEN = "0c73deb5a4c53eed6801b488fffd6fe3df71128e109c2cc52de67e0faa3ee46c"
quick = settings(max_examples=60, deadline=None)


def retold(order: Order, epoch: int) -> dict[int, int]:
    """Position to row for one epoch, step by step as the definition says it."""
    key = order.data_hash, order.seed
    start = np.concatenate([[0], np.cumsum(order.shard_rows)])
    shards = permutation(len(order.shard_rows), *key, "shards", epoch)
    rows = [row for k in shards for row in range(start[k], start[k + 1])]
    result: dict[int, int] = {}
    for stream in range(order.streams):
        span = range(epoch * order.count, (epoch + 1) * order.count)
        positions = [p for p in span if p % order.streams == stream]
        segment, rows = rows[: len(positions)], rows[len(positions) :]
        for w in range(0, len(segment), order.window):
            window = segment[w : w + order.window]
            shuffled = permutation(len(window), *key, "window", epoch, stream, w // order.window)
            result |= dict(zip(positions[w : w + order.window], (window[i] for i in shuffled), strict=True))
    assert rows == []
    return result


@quick
@given(ORDERS, st.integers(0, 5))
def test_it_is_what_the_definition_says(order, epoch):
    positions = np.arange(epoch * order.count, (epoch + 1) * order.count)
    told = retold(order, epoch)
    np.testing.assert_array_equal(order.rows(positions), [told[p] for p in positions.tolist()])


@quick
@given(ORDERS, st.integers(0, 10**9))
def test_every_epoch_shows_every_row_once(order, epoch):
    rows = order.rows(np.arange(epoch * order.count, (epoch + 1) * order.count))
    np.testing.assert_array_equal(np.sort(rows), np.arange(order.count))


@quick
@given(ORDERS, st.integers(0, 500), st.integers(1, 5))
def test_every_world_reads_the_same_global_batch(order, start, per_stream):
    size = per_stream * order.streams
    alone = order.batch(start, size)
    for world in range(1, order.streams + 1):
        parts = [order.batch(start, size, rank, world) for rank in range(world)]
        assert [len(part) for part in parts] == [len(order.share(size, rank, world)) for rank in range(world)]
        assert max(map(len, parts)) - min(map(len, parts)) in (0, per_stream)
        np.testing.assert_array_equal(np.concatenate(parts), alone)


@quick
@given(ORDERS, st.integers(0, 500), st.integers(1, 5))
def test_a_batch_is_its_positions_stream_by_stream(order, start, per_stream):
    size = per_stream * order.streams
    positions = order.positions(start, size)
    np.testing.assert_array_equal(np.sort(positions), np.arange(start, start + size))
    np.testing.assert_array_equal(positions % order.streams, np.repeat(np.arange(order.streams), per_stream))
    assert (np.diff(positions.reshape(order.streams, per_stream)) > 0).all()
    np.testing.assert_array_equal(order.batch(start, size), order.rows(positions))


@quick
@given(ORDERS, st.integers(0, 200), st.integers(1, 3), st.integers(1, 3), st.integers(1, 6))
def test_resuming_anywhere_with_any_batch_size_leaves_every_position_its_row(order, begin, small, large, steps):
    a, b = small * order.streams, large * order.streams
    first = {p: r for s in range(begin, begin + steps * a, a) for p, r in read(order, s, a)}
    again = Order(order.shard_rows, order.data_hash, order.seed, order.streams, order.window)
    late = begin + (steps // 2) * a
    second = {p: r for s in range(late, late + steps * b, b) for p, r in read(again, s, b)}
    shared = first.keys() & second.keys()
    assert shared
    assert {p: first[p] for p in shared} == {p: second[p] for p in shared}


def read(order: Order, start: int, size: int) -> list[tuple[int, int]]:
    return list(zip(order.positions(start, size).tolist(), order.batch(start, size).tolist(), strict=True))


def test_a_stream_reads_few_shards_at_a_time():
    order = Order([100] * 64, "hash", 0, streams=8, window=100)
    for stream in range(8):
        for window in range(8):
            positions = stream + 8 * (np.arange(100) + 100 * window)
            assert len(np.unique(order.rows(positions) // 100)) <= 2


def test_seed_data_and_epoch_change_the_order():
    rows = np.arange(1000)
    orders = [Order([500, 500], data, seed, 8) for data, seed in (("a", 0), ("a", 1), ("b", 0))]
    read = [order.rows(rows) for order in orders] + [orders[0].rows(rows + 1000)]
    for i in range(len(read)):
        for j in range(i):
            assert (read[i] == read[j]).mean() < 0.05


def test_far_positions_and_any_shape():
    order = Order([7, 11], "hash", 0, streams=4, window=3)
    positions = np.array([[10**15, 5], [3, 10**15 + 1]])
    rows = order.rows(positions)
    assert rows.shape == (2, 2)
    assert rows[1, 0] == order.rows(np.array([3]))[0]
    assert 0 <= rows.min() <= rows.max() < 18


def test_the_order_is_the_one_that_runs_have_been_trained_with():
    """A change here breaks the resuming of every run there is."""
    order = Order([256, 256, 157], "0123", 7, streams=8, window=64)
    rows = order.rows(np.arange(3000)).astype("<i8")
    assert rows[:8].tolist() == GOLDEN_START
    assert hashlib.sha256(rows.tobytes()).hexdigest() == GOLDEN


@pytest.mark.parametrize(
    ("size", "world", "words"),
    [
        (100, 1, r"training\.batch_size=100 is not a multiple of data\.streams=8; .*: 96 or 104"),
        (3, 1, r"training\.batch_size=3 .*: 8\."),
        (0, 1, r"training\.batch_size=0 .*: 8\."),
        (64, 9, r"scaling\.workers=9 is not between 1 and data\.streams=8, .*"),
        (64, 0, r"scaling\.workers=0 is not between 1 and data\.streams=8, .*"),
    ],
)
def test_what_does_not_fit_the_streams_is_refused_with_what_does(size, world, words):
    with pytest.raises(UserError, match=words):
        Order([100], "hash", 0, streams=8).batch(0, size, 0, world)
