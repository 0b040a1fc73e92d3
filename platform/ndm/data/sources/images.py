"""Pictures of your own: a folder, zip or tar of them, made square and small. CelebA-HQ, of which several preparations
exist, is read like this.

A folder in it is a class, numbered by the order of the names; without folders all labels are 0. Where the outermost
folders are train, validation (or val, valid) and test, they are the splits; otherwise `held_out` and `test` pictures
are drawn at random. The version tells the content of the files, and how pixels are made of them; see `_pictures`.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ndm.data import places
from ndm.data.sources import _pictures, _stores
from ndm.data.sources._base import SPLITS, Opened
from ndm.data.sources._flips import Flipped
from ndm.data.sources._own import Own
from ndm.data.sources._pictures import SUFFIXES, Crop, Filter, Form
from ndm.data.sources._stores import Member, Store
from ndm.errors import UserError

NAMES = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}


class Config(Own, Flipped):
    kind: Literal["images"] = "images"
    size: int = Field(default=64, gt=0, le=1024)
    """Pixels of a side."""
    channels: Literal[1, 3] = 3
    """3 for RGB, 1 for grey."""
    crop: Crop = "none"
    """The centred square of a picture; none takes square pictures alone."""
    filter: Filter = "box"
    """How pictures of another size are resampled; `box` averages; see `_pictures`."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.size, self.size)

    @property
    def levels(self) -> int:
        return 256

    def identity(self) -> dict[str, str]:
        store, members = self.find()
        form = ("grey" if self.channels == 1 else "rgb", self.crop, self.filter)
        return {"name": f"images{self.size}", "version": self.version(store.files(members), *form)}

    def find(self) -> tuple[Store, list[Member]]:
        """The pictures, where they lie, in the order they lie in.

        Raises:
            UserError: there are none.
        """
        place = places.place(self.path, "a folder, zip or tar of images")
        store, members = _stores.opened(place, depth=None)
        if found := [member for member in members if member.name.lower().endswith(SUFFIXES)]:
            return store, found
        raise UserError(f"{place} has no images ({', '.join(SUFFIXES)}); give a place of images as data.path=...")

    def open(self) -> Opened:
        store, members = self.find()
        names = [member.name for member in members]
        splits, classes = sorted_out(names, str(store))
        numbers = {name: number for number, name in enumerate(sorted(set(classes)))}
        labels = np.array([numbers[name] for name in classes], np.int64)
        parts = _pictures.parts(store, members, labels, Form(self.size, self.channels, self.crop, self.filter))
        order = _pictures.by_name(names, store)
        # Rows are counted by split and then by name, wherever they lie.
        of = np.array(splits)[order]
        kinds = [split for split in (*SPLITS, "data") if (of == split).any()]
        rows = np.concatenate([order[of == split] for split in kinds])
        counts = {split: int((of == split).sum()) for split in kinds}
        return Opened(parts, {split: rows[numbers] for split, numbers in self.rows(counts).items()})


def sorted_out(names: Sequence[str], where: str) -> tuple[list[str], list[str]]:
    """The split of each name ("data" where the files make none) and its class ("" where there are none).

    Raises:
        UserError: some are in folders and some are not.
    """
    paths = [name.strip("/").split("/") for name in names]
    while all(len(path) > 1 for path in paths) and len({path[0] for path in paths}) == 1:
        paths = [path[1:] for path in paths]
    outermost = {path[0] if len(path) > 1 else "" for path in paths}
    splits = ["data"] * len(paths)
    if outermost <= NAMES.keys() and "train" in outermost:
        splits = [NAMES[path[0]] for path in paths]
        paths = [path[1:] for path in paths]
    if len({len(path) > 1 for path in paths}) > 1:
        bare = next(path[-1] for path in paths if len(path) == 1)
        raise UserError(
            f"{where} has images in folders, which are classes, and {places.printable(bare)} in none; put it into one."
        )
    return splits, [path[0] if len(path) > 1 else "" for path in paths]
