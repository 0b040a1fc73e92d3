"""Mixtures of equal Gaussians in two dimensions, whose density is known: what the 2-D toys share."""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndm.data.permutation import words
from ndm.data.sources._base import Examples, Held, Opened, SourceConfig

HELD_OUT = 2000
SEED = 20250101


@dataclass(frozen=True)
class Mixture:
    """p(x) = 1/K sum_k N(x; c_k, sd^2 I), K a power of two."""

    name: str
    centres: NDArray[np.float64]
    """[K, 2]."""
    sd: float

    def draw(self, count: int, split: str) -> Examples:
        """Independent examples of a split, each labelled with its k; the first ones are the same for every count.

        Normals by Box and Muller's map.
        """
        word = words(3 * count, self.name, SEED, split).reshape(count, 3)
        bits = len(self.centres).bit_length() - 1
        labels = (word[:, 0] >> np.uint64(64 - bits)).astype(np.int64)
        uniform = ((word[:, 1:] >> np.uint64(11)) + 0.5) * 2.0**-53
        radius, angle = np.sqrt(-2 * np.log(uniform[:, 0])), 2 * np.pi * uniform[:, 1]
        normal = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return Examples((self.centres[labels] + self.sd * normal).astype(np.float32), labels)

    def log_density(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """log p(x) in nats, shape [N], at the points x of shape [N, 2]."""
        squares = np.square(x[:, None, :].astype(np.float64) - self.centres).sum(axis=2)
        exponents = -squares / (2 * self.sd**2)
        largest = exponents.max(axis=1)
        total = np.exp(exponents - largest[:, None]).sum(axis=1)
        return largest + np.log(total) - np.log(len(self.centres) * 2 * np.pi * self.sd**2)


class MixtureConfig(SourceConfig, ABC):
    """Examples of one mixture."""

    law: ClassVar[Mixture]
    examples: int = Field(default=20_000, gt=0)
    """Size of the training split; validation and test have 2,000 each."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def levels(self) -> int:
        return 0

    def identity(self) -> dict[str, str]:
        return {"name": self.law.name, "version": f"1-{self.examples}"}

    def open(self) -> Opened:
        sizes = {"train": self.examples, "validation": HELD_OUT, "test": HELD_OUT}
        parts = [Held(self.law.draw(size, split)) for split, size in sizes.items()]
        rows = np.split(np.arange(sum(sizes.values())), np.cumsum(list(sizes.values()))[:-1])
        return Opened(parts, dict(zip(sizes, rows, strict=True)))
