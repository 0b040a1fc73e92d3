"""Arrays of your own: a .npy or .npz file of images (uint8) or of points (float32). Nothing in it is unpickled.

An .npz with `train`, `validation` and `test` is split as it says; labels, if any, are `train_labels` and so on. One
array, alone or with `labels` beside it, is split at random, `held_out` rows for validation and `test` rows for test.
`layout` names the axes: NHW, NHWC or NCHW for images, ND for points. The version tells the file's content.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from ndm.data import places
from ndm.data.sources import _npy
from ndm.data.sources._base import SPLITS, Examples, Opened, Part, rows_together
from ndm.data.sources._flips import Flipped
from ndm.data.sources._npy import Array
from ndm.data.sources._own import Own
from ndm.errors import UserError

AXES = {"NHW": 3, "NHWC": 4, "NCHW": 4, "ND": 2}
Layout = Literal["NHW", "NHWC", "NCHW", "ND"]


@dataclass(frozen=True)
class Slice(Part):
    """Some rows of an array."""

    data: Array
    labels: Array | None
    layout: Layout
    first: int
    last: int

    @property
    def rows(self) -> int:
        return self.last - self.first

    def read(self) -> Examples:
        raw = self.data.read(self.first, self.last)
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise UserError(f"{self.data} has numbers that are not finite in the rows {self.first} to {self.last - 1}.")
        labels = np.zeros(self.rows, np.int64)
        if self.labels is not None:
            labels = self.labels.read(self.first, self.last).astype(np.int64)
            if labels.min() < 0:
                raise UserError(f"{self.labels} has labels below 0; number the classes from 0.")
        if self.layout == "NHW":
            raw = raw[:, None]
        elif self.layout == "NHWC":
            raw = raw.transpose(0, 3, 1, 2)
        return Examples(np.ascontiguousarray(raw, raw.dtype.newbyteorder("=")), labels)


class Found(NamedTuple):
    """The arrays of a file, checked."""

    data: Mapping[str, Array]
    """By split, or one under "data"."""
    labels: Mapping[str, Array]
    layout: Layout
    shape: tuple[int, ...]
    """Of an example."""


class Config(Own, Flipped):
    kind: Literal["arrays"] = "arrays"
    layout: Layout | None = Field(default=None, examples=["NCHW"])
    """Axes of the array; by default NHW for three of them and ND for two."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.find().shape

    @property
    def levels(self) -> int:
        return 256 if next(iter(self.find().data.values())).dtype == "|u1" else 0

    def identity(self) -> dict[str, str]:
        file = self.file()
        return {"name": "arrays", "version": self.version({file.name: file}, self.find().layout)}

    def file(self) -> places.File:
        """The file that holds the arrays."""
        place = places.place(self.path, "a .npy or .npz file of images or points")
        if not place.name.endswith((".npy", ".npz")) or place.kind() != "file":
            raise UserError(f"{place} is no .npy or .npz file; give one as data.path=...")
        return place.file()

    def find(self) -> Found:
        """The arrays that there are.

        Raises:
            UserError: they are missing, do not belong together, or have not the form of images or points.
        """
        file = self.file()
        found = {"data": _npy.array(file)} if file.name.endswith(".npy") else _npy.arrays(file)
        names = places.printable(", ".join(found)) or "of no name"
        own = {split: found[split] for split in SPLITS if split in found}
        if own:
            if absent := [split for split in ("train", "test") if split not in own]:
                raise UserError(f"{file} has the arrays {names}; {absent[0]} is missing.")
            labels = {split: found[f"{split}_labels"] for split in own if f"{split}_labels" in found}
        else:
            rest = [name for name in found if name != "labels"]
            if len(rest) != 1:
                raise UserError(
                    f"{file} has the arrays {names}; expected train and test, or one array and perhaps labels."
                )
            own, labels = {"data": found[rest[0]]}, {"data": found["labels"]} if "labels" in found else {}
        if labels and labels.keys() != own.keys():
            raise UserError(f"{file} has labels for {', '.join(labels)} alone; give them for every split or for none.")
        for split, label in labels.items():
            if label.shape != own[split].shape[:1] or label.dtype[1] not in "iu":
                raise UserError(
                    f"{label} has {label.dtype} {list(label.shape)}, expected {own[split].shape[0]} whole numbers."
                )
        layout = self._layout(own)
        if self.flip and layout == "ND":
            raise UserError(f"data.flip=true mirrors images, but {file} holds points; leave it out.")
        _, *shape = next(iter(own.values())).shape
        if layout in ("NHW", "NHWC"):
            shape = [*shape[2:], *shape[:2]] if layout == "NHWC" else [1, *shape]
        return Found(own, labels, layout, tuple(shape))

    def _layout(self, arrays: Mapping[str, Array]) -> Layout:
        """The axes of all arrays; UserError where they differ or are not said."""
        first = next(iter(arrays.values()))
        layout = self.layout or {3: "NHW", 2: "ND"}.get(len(first.shape))
        if layout is None and len(first.shape) == 4:
            raise UserError(f"{first} has the axes {list(first.shape)}: say what they are by data.layout=NHWC or NCHW.")
        for array in arrays.values():
            if (
                layout is None
                or len(array.shape) != AXES[layout]
                or 0 in array.shape
                or array.shape[1:] != first.shape[1:]
            ):
                raise UserError(
                    f"{array} has the axes {list(array.shape)}, which are not those of data.layout={layout or 'any'} "
                    f"with {list(first.shape[1:])} after the first."
                )
            if array.dtype.lstrip("<>|=") != ("f4" if layout == "ND" else "u1"):
                kind = "float32" if layout == "ND" else "uint8"
                raise UserError(f"{array} holds {np.dtype(array.dtype)}, expected {kind}; save array.astype('{kind}').")
        return layout  # pyright: ignore[reportReturnType]  # checked by the loop, which runs at least once

    def open(self) -> Opened:
        found = self.find()
        parts: list[Slice] = []
        for split, data in found.data.items():
            step = rows_together(found.shape, self.levels)
            for first in range(0, data.shape[0], step):
                last = min(first + step, data.shape[0])
                parts.append(Slice(data, found.labels.get(split), found.layout, first, last))
        return Opened(parts, self.rows({split: data.shape[0] for split, data in found.data.items()}))
