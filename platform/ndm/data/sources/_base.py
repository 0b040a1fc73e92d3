"""What a source of data is: raw examples of three disjoint splits, and a name and version that identify them."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndm import registry

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Examples:
    """The examples of one split, as stored: not scaled, not augmented."""

    raw: NDArray[np.uint8] | NDArray[np.float32]
    """[N, *shape]."""
    labels: NDArray[np.int64]
    """[N], numbers of classes from 0."""
    levels: int
    """Values a stored number can take, 0 .. levels - 1; 0 for continuous float32 data."""


class SourceConfig(registry.Config):
    """Keys that every source has."""

    streams: int = Field(default=8, gt=0)
    """Canonical streams that the training examples are read in; the number of workers divides it."""

    rows_per_shard: ClassVar[int] = 4096
    """Examples in a file; a property of the source, not of an experiment."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one example, known without loading any."""

    @property
    @abstractmethod
    def levels(self) -> int:
        """Values a stored number can take, as in `Examples`."""

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """{"name", "version"}: equal identities have equal examples. Both are fit for a folder's name."""

    @abstractmethod
    def load(self) -> dict[str, Examples]:
        """The examples of the splits "train", "validation" and "test".

        Raises:
            UserError: what was found is not the data set that the identity promises.
        """
