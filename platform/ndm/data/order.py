"""The order of training examples: a pure function from a position to a row.

Positions count examples seen and never end. Epoch e is the positions [e N, (e + 1) N) and shows each of the N rows
once. Position p belongs to the canonical stream p mod S. In epoch e, stream s has c_{e,s} of the positions; the shards
are permuted, their rows laid end to end and cut into S segments of lengths c_{e,0} .. c_{e,S-1}, and within its segment
each window of `window` consecutive rows is permuted. So
- a stream reads one or two shards at a time;
- a batch of B takes B / S rows of each stream, and a rank of W owns whole streams, S / W of them or one more: the
  batches are the same for every W up to S;
- any position is reached at once, by permuting the shards and one window.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ndm.data.manifest import Manifest
from ndm.data.permutation import permutation
from ndm.errors import UserError

WINDOW = 4096
WINDOWS_KEPT = 1024  # 32 KiB each; every stream is in one window at a time, for a moment in two


class Order:
    """The order of a split's rows for one seed. Equal arguments make equal orders, on any machine."""

    def __init__(
        self, shard_rows: Sequence[int], data_hash: str, seed: int, streams: int, window: int = WINDOW
    ) -> None:
        assert len(shard_rows) > 0
        assert min(*shard_rows, streams, window) > 0
        self.shard_rows = tuple(shard_rows)
        self.count = sum(shard_rows)
        self.data_hash, self.seed, self.streams, self.window = data_hash, seed, streams, window
        everything = repr((self.shard_rows, data_hash, seed, streams, window))
        self._identity = hashlib.sha256(everything.encode()).hexdigest()

    @classmethod
    def of(cls, manifest: Manifest, split: str, *, seed: int, streams: int) -> Self:
        """The order of a prepared split."""
        return cls([shard.rows for shard in manifest.shards(split)], manifest.hash, seed, streams)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Order) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row numbers in the split at `positions` (>= 0, any shape, any order); same shape."""
        flat = np.asarray(positions, np.int64).ravel()
        epoch, stream = flat // self.count, flat % self.streams
        start = epoch * self.count
        first = start + (stream - start) % self.streams  # the stream's first position of the epoch
        window, slot = np.divmod((flat - first) // self.streams, self.window)
        # One number for (epoch, stream, window); a segment has at most count // window + 1 windows.
        most = self.count // self.window + 1
        place, group = np.unique((epoch * self.streams + stream) * most + window, return_inverse=True)
        result = np.empty_like(flat)
        for number, code in enumerate(place.tolist()):
            here = group == number
            part, index = divmod(code, most)
            result[here] = _window(self, *divmod(part, self.streams), index)[slot[here]]
        return result.reshape(np.shape(positions))

    def batch(self, start: int, size: int, rank: int = 0, world: int = 1) -> NDArray[np.int64]:
        """Row numbers of one rank's part of the global batch of positions start .. start + size - 1, see `share`.

        Slot s size / S + k of the global batch is the k-th of stream s; a rank's part is whole streams, so that the
        parts of ranks 0 .. W - 1 laid end to end are the same for every W.

        Raises:
            UserError: the size is not a multiple of the streams, or there are more workers than streams.
        """
        return self.rows(self.positions(start, size, rank, world))

    def positions(self, start: int, size: int, rank: int = 0, world: int = 1) -> NDArray[np.int64]:
        """The positions that `batch` reads, in its arrangement; errors as there."""
        own, each = self.share(size, rank, world), size // self.streams
        stream = np.arange(own.start // each, own.stop // each)[:, None]
        first = start + (stream - start) % self.streams
        return (first + self.streams * np.arange(each)).ravel()

    def share(self, size: int, rank: int = 0, world: int = 1) -> range:
        """The slots of a global batch that are a rank's own; errors as for `batch`."""
        self.require(size, world)
        each = size // self.streams
        return range(self.streams * rank // world * each, self.streams * (rank + 1) // world * each)

    def require(self, size: int, world: int) -> None:
        """Refuse a batch size or a number of workers that does not fit the streams; errors as for `batch`."""
        if size <= 0 or size % self.streams:
            below = size // self.streams * self.streams
            near = [n for n in (below, below + self.streams) if n > 0]
            raise UserError(
                f"training.batch_size={size} is not a multiple of data.streams={self.streams}; "
                f"the nearest that work: {' or '.join(map(str, near))}."
            )
        if not 0 < world <= self.streams:
            raise UserError(
                f"scaling.workers={world} is not between 1 and data.streams={self.streams}, of which every worker "
                "reads one or more."
            )


@lru_cache(maxsize=4)
def _shards(order: Order, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The epoch's layout: where each permuted shard begins, which row it begins with, and where each segment begins."""
    sizes = np.array(order.shard_rows)
    first_row = np.cumsum(sizes) - sizes
    shuffled = permutation(len(sizes), order.data_hash, order.seed, "shards", epoch)
    begins = np.cumsum(sizes[shuffled]) - sizes[shuffled]
    start, stream = epoch * order.count, np.arange(order.streams)
    first = (stream - start) % order.streams  # of the stream's positions, counted from the epoch's start
    counts = np.maximum(0, -(-(order.count - first) // order.streams))
    return begins, first_row[shuffled], np.concatenate([[0], np.cumsum(counts)])


@lru_cache(maxsize=WINDOWS_KEPT)
def _window(order: Order, epoch: int, stream: int, window: int) -> NDArray[np.int64]:
    """The permuted rows of one window of a stream's segment."""
    begins, first_row, segments = _shards(order, epoch)
    start = segments[stream] + window * order.window
    size = int(min(order.window, segments[stream + 1] - start))
    shuffled = permutation(size, order.data_hash, order.seed, "window", epoch, stream, window)
    place = start + shuffled
    shard = np.searchsorted(begins, place, side="right") - 1
    return first_row[shard] + place - begins[shard]
