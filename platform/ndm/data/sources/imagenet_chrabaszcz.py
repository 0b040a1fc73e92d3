"""ImageNet at 32 x 32 or 64 x 64 pixels as P. Chrabaszcz, I. Loshchilov and F. Hutter published it (arXiv 1707.08819):
1,281,167 training and 50,000 validation images with labels.

They were made by averaging over areas, which leaves them smoother than those of `imagenet_oord` and easier by about a
quarter of a bit: no number of the one is comparable with one of the other. `path` is the folder of the eleven files
train_data_batch_1 .. train_data_batch_10 and val_data, or of folders that have them: as .npz (best, read in parts of
4096 rows) or as pickles (read by `_pickles`, each of them whole, and once more to count its rows). A label is the
published number minus 1, and not the place among sorted synsets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ndm.data import places
from ndm.data.places import File
from ndm.data.sources import _npy, _pickles
from ndm.data.sources._base import Examples, Opened, Part, rows_together
from ndm.data.sources._flips import Flipped
from ndm.data.sources._npy import Array
from ndm.data.sources._published import Published, missing
from ndm.errors import UserError

CLASSES = 1000
BATCHES = (*(f"train_data_batch_{k}" for k in range(1, 11)), "val_data")
ROWS = {"training": 1_281_167, "validation": 50_000}


@dataclass(frozen=True)
class Pickle(Part):
    """A batch that is a pickle, which has to be read whole."""

    file: File
    size: int
    count: int

    @property
    def rows(self) -> int:
        return self.count

    def read(self) -> Examples:
        return unpickled(self.file, self.size)


@dataclass(frozen=True)
class Slice(Part):
    """Some rows of a batch that is an .npz."""

    data: Array
    labels: Array
    size: int
    first: int
    last: int

    @property
    def rows(self) -> int:
        return self.last - self.first

    def read(self) -> Examples:
        raw = self.data.read(self.first, self.last).reshape(-1, 3, self.size, self.size)
        return Examples(raw, numbered(self.labels.read(self.first, self.last), str(self.labels)))


class Config(Published, Flipped):
    kind: Literal["imagenet_chrabaszcz"] = "imagenet_chrabaszcz"
    size: Literal[32, 64] = 32
    """Pixels of a side."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.size, self.size)

    @property
    def levels(self) -> int:
        return 256

    @property
    def title(self) -> str:
        return f"imagenet{self.size}-chrabaszcz"

    def files(self) -> Mapping[str, File]:
        wanted = (
            f"the folder of train_data_batch_1.npz .. train_data_batch_10.npz and val_data.npz of {self.size} pixels"
        )
        place = places.place(self.path, wanted)
        there = {file.name: file for file in place.files(depth=1).values()} if place.kind() == "folder" else {}
        found: dict[str, File] = {}
        for name in BATCHES:
            if here := [there[n] for n in (f"{name}.npz", name) if n in there]:
                found[name] = here[0]
            elif self.originals or name == BATCHES[-1]:
                raise missing(place, f"{name}.npz or {name}")
        if len(found) < 2:
            raise missing(place, f"{BATCHES[0]}.npz or {BATCHES[0]}")
        return found

    def open(self) -> Opened:
        counts = dict.fromkeys(ROWS, 0)
        parts: list[Part] = []
        for name, file in self.files().items():
            of_batch = sliced(file, self.size) if file.name.endswith(".npz") else [whole(file, self.size)]
            counts["validation" if name == BATCHES[-1] else "training"] += sum(part.rows for part in of_batch)
            parts += of_batch
        for split, expected in ROWS.items():
            self.require(self.path, f"the number of {split} images", counts[split], expected)
        return Opened(parts, self.splits(counts["training"], counts["validation"]))


def whole(file: File, size: int) -> Pickle:
    """The part that a pickle is; it is read for that."""
    return Pickle(file, size, len(unpickled(file, size).labels))


def sliced(file: File, size: int) -> list[Slice]:
    """The parts of an .npz; UserError where it has not the arrays that it should have."""
    found = _npy.arrays(file)
    if not {"data", "labels"} <= found.keys():
        raise UserError(
            f"{file} has the arrays {places.printable(', '.join(found))}, expected data and labels; fetch it again."
        )
    data, labels = found["data"], found["labels"]
    rows = labels.shape[0] if len(labels.shape) == 1 else -1
    if data.shape != (rows, 3 * size**2) or data.dtype != "|u1" or labels.dtype[1] not in "iu" or rows < 1:
        raise UserError(
            f"{file} has data {data.dtype} {list(data.shape)} and labels {labels.dtype} {list(labels.shape)}, expected "
            f"uint8 [N, {3 * size**2}] and integers [N]: give the data of data.size={size}, or fetch it again."
        )
    step = rows_together((3, size, size), 256)
    return [Slice(data, labels, size, first, min(first + step, rows)) for first in range(0, rows, step)]


def unpickled(file: File, size: int) -> Examples:
    """All rows of a pickle; UserError where it has not what it should have."""
    found = _pickles.load(file.read(), str(file))
    raw, labels = _pickles.table(found, "data", 3 * size**2, str(file)), _pickles.labels(found, str(file))
    if len(raw) != len(labels):
        raise UserError(f"{file} has {len(raw)} images and {len(labels)} labels: it is damaged; fetch it again.")
    return Examples(raw.reshape(-1, 3, size, size), numbered(labels, str(file)))


def numbered(labels: NDArray[np.integer], where: str) -> NDArray[np.int64]:
    """Labels 1 .. 1000 from 0; UserError where they are others."""
    if labels.min() < 1 or labels.max() > CLASSES:
        raise UserError(
            f"{where} has labels from {labels.min()} to {labels.max()}, expected 1 to {CLASSES}; fetch it again."
        )
    return labels.astype(np.int64) - 1
