"""Random numbers as a pure function of (seed, stream name, position): nothing here has a state that can be lost.

Position p of a stream owns a fixed block of a Philox counter (Salmon et al., Parallel Random Numbers: As Easy as 1, 2,
3, SC 2011), so any worker draws any slice at once and gets the same values: resuming, another number of workers and
another batch size leave every draw in place.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WORDS_PER_COUNTER = 4  # one Philox4x64 counter yields four 64-bit words


class Stream:
    """One named stream of draws, addressed by position."""

    def __init__(self, seed: int, *name: str | int) -> None:
        digest = hashlib.sha256(repr((seed, *name)).encode()).digest()
        self._key = np.frombuffer(digest[:16], np.uint64)

    def _words(self, start: int, count: int, size: int) -> NDArray[np.uint64]:
        counters = -(-size // WORDS_PER_COUNTER)
        first = start * counters
        counter = np.array([first & (2**64 - 1), first >> 64, 0, 0], np.uint64)
        words = np.random.Philox(counter=counter, key=self._key).random_raw(count * counters * WORDS_PER_COUNTER)
        return words.reshape(count, counters * WORDS_PER_COUNTER)[:, :size]

    def _uniform(self, start: int, count: int, size: int) -> NDArray[np.float64]:
        blocks = self._words(start, count, size)
        return ((blocks >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52  # exact: never rounded up to one

    def words(self, start: int, count: int, size: int) -> Tensor:
        """64 random bits each, as int64, for positions start .. start + count - 1; shape [count, size]."""
        return torch.from_numpy(self._words(start, count, size).view(np.int64).copy())

    def uniform(self, start: int, count: int, shape: tuple[int, ...] = ()) -> Tensor:
        """Float64 uniforms in (0, 1) for positions start .. start + count - 1; shape [count, *shape]."""
        return torch.from_numpy(self._uniform(start, count, int(np.prod(shape, dtype=int))).reshape(count, *shape))

    def normal(self, start: int, count: int, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normals for positions start .. start + count - 1 by Box and Muller's map; shape [count, *shape]."""
        size = int(np.prod(shape, dtype=int))
        pairs = -(-size // 2)
        u = torch.from_numpy(self._uniform(start, count, 2 * pairs)).to(dtype)
        radius, angle = (-2 * u[:, :pairs].log()).sqrt(), 2 * torch.pi * u[:, pairs:]
        values = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return values[:, :size].reshape(count, *shape)
