"""What the sources of published data sets share: where they are, what is held out of them, and when they are originals.

The original test set, or where there is none the validation set, is the split "test". The split "validation" is taken
out of the training examples by a recorded permutation.
"""

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndm.data import places
from ndm.data.permutation import permutation
from ndm.data.places import DataPath, File, Place
from ndm.data.sources._base import SourceConfig
from ndm.errors import UserError

SEED = 20250101


class Located(SourceConfig):
    """Data in files that are not part of anything installed."""

    path: DataPath | None = None
    """Local path or s3://bucket/key; needed while the data are prepared."""


class Published(Located):
    """A published data set, or with `originals` off, other data in the same files."""

    held_out: int = Field(default=10_000, gt=0)
    """Training examples that become the split "validation"."""
    originals: bool = True
    """Accept the published data set alone; other data of the same format get a name that tells their content."""

    @property
    @abstractmethod
    def title(self) -> str:
        """Name of the data set, with all that decides its pixels."""

    @abstractmethod
    def files(self) -> Mapping[str, File]:
        """The files that hold the data, by name; UserError where they are not there."""

    def identity(self) -> dict[str, str]:
        version = "1" if self.originals else f"any-{places.fingerprint(self.files())}"
        return {"name": self.title, "version": f"{version}-{self.held_out}"}

    def splits(self, train: int, test: int) -> Mapping[str, NDArray[np.int64]]:
        """Row numbers where the training rows, as published, are followed by the test rows.

        Raises:
            UserError: nothing is left to train on.
        """
        if self.held_out >= train:
            raise UserError(
                f"data.held_out={self.held_out} of {train} training examples leaves none to train on; give a smaller "
                "data.held_out=..."
            )
        order = permutation(train, "held out", self.title, SEED)
        return {
            "train": order[self.held_out :],
            "validation": order[: self.held_out],
            "test": np.arange(train, train + test),
        }

    def require(self, where: object, what: str, found: object, expected: object) -> None:
        """Originals have what is expected.

        Raises:
            UserError: they have not.
        """
        if self.originals and found != expected:
            raise UserError(
                f"{where} has {what} {found}, the original {self.title} has {expected}: give the original as "
                "data.path=..., or take what is there with data.originals=false."
            )


def missing(place: Place | str, names: str) -> UserError:
    return UserError(f"{place} has no {names}; give the folder that has them as data.path=...")
