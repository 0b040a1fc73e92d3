"""A permutation as a pure function of its key.

It is the sorting order of raw Philox words (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011). Raw
words are the same in every version of numpy; `Generator.permutation` makes no such promise, and the order of examples
has to outlive the versions.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def words(count: int, *key: str | int) -> NDArray[np.uint64]:
    """`count` uniform 64-bit words that belong to `key`."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Philox(key=np.frombuffer(digest[:16], np.dtype("<u8"))).random_raw(count)


def permutation(count: int, *key: str | int) -> NDArray[np.int64]:
    """The numbers 0 .. count - 1 in the order that belongs to `key`."""
    return np.argsort(words(count, *key), kind="stable")
