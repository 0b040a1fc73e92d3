"""What a source of data is: rows in parts, which of them are in which split, and a name and version for all of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndm import registry

SPLITS = ("train", "validation", "test")
MOST_ROWS = 4096
MOST_BYTES = MOST_ROWS * 3 * 64 * 64
"""Of examples that are held together; larger images come in fewer rows."""


@dataclass(frozen=True)
class Examples:
    """Some examples, as stored: not scaled, not augmented."""

    raw: NDArray[np.uint8] | NDArray[np.float32]
    """[N, *shape]."""
    labels: NDArray[np.int64]
    """[N], numbers of classes from 0."""


class Part(ABC):
    """Some consecutive rows of a source, which a task reads on its own; plain data, so that it can be sent."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """How many, above zero; known before they are read."""

    @abstractmethod
    def read(self) -> Examples:
        """The rows, in their order.

        Raises:
            UserError: what is found is not what the source promises.
        """


@dataclass(frozen=True)
class Held(Part):
    """Rows that are in memory."""

    examples: Examples

    @property
    def rows(self) -> int:
        return len(self.examples.labels)

    def read(self) -> Examples:
        return self.examples


class Opened(NamedTuple):
    """A source that was found to be there."""

    parts: Sequence[Part]
    """Their rows, laid end to end, are numbered from 0."""
    splits: Mapping[str, NDArray[np.int64]]
    """Row numbers of the splits "train", "validation" and "test", disjoint, none empty."""


def rows_together(shape: tuple[int, ...], levels: int) -> int:
    """How many examples are held together: MOST_ROWS, and no more than MOST_BYTES of them, but one."""
    return max(1, min(MOST_ROWS, MOST_BYTES // (prod(shape) * (1 if levels else 4))))


class SourceConfig(registry.Config):
    """Keys that every source has."""

    streams: int = Field(default=8, gt=0)
    """Canonical streams that the training examples are read in; the number of workers divides it."""
    verify: Literal["sizes", "full"] = "sizes"
    """What is checked before a verb begins: every shard's size, or every byte. What is read is verified anyway."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one example, known without loading any."""

    @property
    @abstractmethod
    def levels(self) -> int:
        """Values a stored number can take, 0 .. levels - 1; 0 for continuous float32 data."""

    @property
    def rows_per_shard(self) -> int:
        """Examples in a file, and at most in a part; a property of the source, not of an experiment."""
        return rows_together(self.shape, self.levels)

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """{"name", "version"}: equal identities have equal examples. Both are fit for a folder's name."""

    @abstractmethod
    def open(self) -> Opened:
        """Find the data, and check all that can be seen without decoding them.

        Raises:
            UserError: they are not there, or not the data set that the identity promises.
        """
