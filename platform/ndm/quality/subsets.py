"""Random choices of rows as a function of (seed, name): no order of the files on disk leaks into a subset."""

import torch
from torch import Tensor

from ndm.randomness import Stream


def shuffled(count: int, seed: int, name: str) -> Tensor:
    """A random permutation of 0 .. count - 1, int64 [count]."""
    return torch.argsort(Stream(seed, "quality", name).uniform(0, count))


def subset(x: Tensor, most: int, seed: int, name: str) -> Tensor:
    """x itself, or `most` of its rows chosen at random without replacement."""
    return x if len(x) <= most else x[shuffled(len(x), seed, name)[:most]]
