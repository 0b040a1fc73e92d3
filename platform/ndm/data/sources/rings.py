"""RING: 8 equal Gaussians of standard deviation 0.25 on a circle of radius 2, in two dimensions.

p(x) = 1/8 sum_k N(x; c_k, 0.25^2 I) with c_k = 2 (cos(pi k / 4), sin(pi k / 4)). The density is known, so a model's
bound and likelihood can be checked against it. The label of an example is its k.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndm.data.permutation import words
from ndm.data.sources._base import Examples, Held, Opened, SourceConfig

MODES = 8
RADIUS = 2.0
SD = 0.25
HELD_OUT = 2000
SEED = 20250101

ANGLES = 2 * np.pi * np.arange(MODES) / MODES
CENTRES = RADIUS * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


class Config(SourceConfig):
    kind: Literal["rings"] = "rings"
    examples: int = Field(default=20_000, gt=0)
    """Size of the training split; validation and test have 2,000 each."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def levels(self) -> int:
        return 0

    def identity(self) -> dict[str, str]:
        return {"name": "rings", "version": f"1-{self.examples}"}

    def open(self) -> Opened:
        sizes = {"train": self.examples, "validation": HELD_OUT, "test": HELD_OUT}
        parts = [Held(draw(size, split)) for split, size in sizes.items()]
        rows = np.split(np.arange(sum(sizes.values())), np.cumsum(list(sizes.values()))[:-1])
        return Opened(parts, dict(zip(sizes, rows, strict=True)))


def draw(count: int, split: str) -> Examples:
    """Independent examples of a split; the first ones are the same for every count. Normals by Box and Muller's map."""
    word = words(3 * count, "rings", SEED, split).reshape(count, 3)
    labels = (word[:, 0] >> np.uint64(61)).astype(np.int64)
    uniform = ((word[:, 1:] >> np.uint64(11)) + 0.5) * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(uniform[:, 0])), 2 * np.pi * uniform[:, 1]
    normal = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Examples((CENTRES[labels] + SD * normal).astype(np.float32), labels)


def log_density(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """log p(x) in nats, shape [N], at the points x of shape [N, 2]."""
    squares = np.square(x[:, None, :].astype(np.float64) - CENTRES).sum(axis=2)
    exponents = -squares / (2 * SD**2)
    largest = exponents.max(axis=1)
    total = np.exp(exponents - largest[:, None]).sum(axis=1)
    return largest + np.log(total) - np.log(MODES * 2 * np.pi * SD**2)
