"""Dropout whose mask is a function of (seed, layer, position of the example): the same on any workers, and in a resume.

Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting (JMLR 15, 2014), scaled in
training. Each example and layer has one 64-bit word from a `Stream`, and its mask comes from the outputs of SplitMix64
(Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014) started at that word, in integers on
the tensor's own device. So only the words are drawn on the CPU, masks are equal on all devices, and nothing of them has
to be kept. One output serves four elements: dropped are those whose 16 bits are below 65536 p.
"""

from collections.abc import Generator
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor, nn

from ndm.randomness import Stream

LANES = 4
"""Elements of a mask for one 64-bit output."""
LEVELS = 2**16
# 64-bit words as the signed integers that torch has; products wrap, as they should.
GOLDEN, FIRST, SECOND = (word - 2**64 for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class Dropout(nn.Module):
    """x: [B, ...] with elements set to zero with probability p and the others scaled by 1 / (1 - p).

    Only in training mode and within `masked`; the identity anywhere else, as with p = 0. It works under
    torch.func.jvp, where value and tangent have one mask, and again in a recomputation of activations.
    """

    words: Tensor | None = None
    """[B], int64: the starts of the examples' masks."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.threshold = round(p * LEVELS)

    @property
    def active(self) -> bool:
        """Whether it can drop anything at all."""
        return self.threshold > 0

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.active) or self.words is None:
            return x
        assert len(self.words) == len(x), "the words are those of another batch"
        return x * keep(self.words, x.shape[1:], self.threshold) * (LEVELS / (LEVELS - self.threshold))


def keep(words: Tensor, shape: tuple[int, ...], threshold: int) -> Tensor:
    """Which elements stay: [B, *shape], bool, each True with probability 1 - threshold / 65536."""
    size = prod(shape)
    count = torch.arange(1, -(-size // LANES) + 1, device=words.device)
    z = words[:, None] + GOLDEN * count
    z = (z ^ _shifted(z, 30)) * FIRST
    z = (z ^ _shifted(z, 27)) * SECOND
    lanes = (z ^ _shifted(z, 31)).view(torch.int16)  # from -2^15: all of a word's bits are used
    return (lanes >= threshold - LEVELS // 2)[:, :size].reshape(-1, *shape)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """z >> bits of the unsigned word: torch's own shift repeats the sign."""
    return (z >> bits) & (2 ** (64 - bits) - 1)


def layers(module: nn.Module) -> list[Dropout]:
    """The layers that drop something, in the module's own order."""
    return [layer for layer in module.modules() if isinstance(layer, Dropout) and layer.active]


def words(module: nn.Module, seed: int, start: int, count: int) -> Tensor | None:
    """[count, layers], int64: what `masked` needs for the examples at positions start .. start + count - 1.

    None where nothing is dropped. One Philox counter for four layers of an example.
    """
    n = len(layers(module))
    return Stream(seed, "train/dropout").words(start, count, n) if n else None


@contextmanager
def masked(module: nn.Module, words: Tensor | None) -> Generator[None]:
    """Within it the module drops by `words`: [B, layers], also in a backward pass that recomputes activations.

    The words are the layers' own for the time, not the thread's: autograd's recomputation runs in another thread.
    """
    if words is None:
        yield
        return
    found = layers(module)
    for layer, own in zip(found, words.unbind(1), strict=True):
        layer.words = own
    try:
        yield
    finally:
        for layer in found:
            layer.words = None
