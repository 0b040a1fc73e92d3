"""ImageNet at 32 x 32 or 64 x 64 pixels as A. van den Oord et al. published it with Pixel Recurrent Neural Networks
(arXiv 1601.06759): 1,281,149 training and 49,999 validation images, without labels.

Most tables of likelihoods are about these pixels. They are not those of `imagenet_chrabaszcz`, which are easier: no
number of the one is comparable with one of the other. `path` is the folder of train_32x32.tar and valid_32x32.tar (or
64x64), or of the folders of PNG files that they unpack to; both give the same data set, as names decide the rows.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from ndm.data import places
from ndm.data.places import File, Place
from ndm.data.sources import _pictures, _stores
from ndm.data.sources._base import Opened
from ndm.data.sources._flips import Flipped
from ndm.data.sources._pictures import Form
from ndm.data.sources._published import Published, missing
from ndm.data.sources._stores import Member, Store

ROWS = {"train": 1_281_149, "valid": 49_999}


class Config(Published, Flipped):
    kind: Literal["imagenet_oord"] = "imagenet_oord"
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
        return f"imagenet{self.size}-oord"

    def files(self) -> Mapping[str, File]:
        return {name: file for store, members in self.find() for name, file in store.files(members).items()}

    def find(self) -> list[tuple[Store, list[Member]]]:
        """The training and the validation images, where they lie, in the order they lie in.

        Raises:
            UserError: they are not there.
        """
        names = [f"{split}_{self.size}x{self.size}" for split in ROWS]
        place = places.place(self.path, f"the folder of {names[0]}.tar and {names[1]}.tar")
        return [pngs(place, name) for name in names]

    def open(self) -> Opened:
        parts: list[_pictures.Pictures] = []
        ranks: list[np.ndarray] = []
        for (store, members), (split, expected) in zip(self.find(), ROWS.items(), strict=True):
            self.require(store, f"the number of {split} images", len(members), expected)
            parts += _pictures.parts(store, members, np.zeros(len(members), np.int64), Form(self.size))
            ranks.append(_pictures.by_name([member.base for member in members], store))
        train, test = map(len, ranks)
        # The splits name rows by the order of the names; the parts hold them in the order they lie in.
        row = np.concatenate([ranks[0], train + ranks[1]])
        return Opened(parts, {split: row[rows] for split, rows in self.splits(train, test).items()})


def pngs(place: Place, name: str) -> tuple[Store, list[Member]]:
    """The PNG files of a tar or a folder with this name.

    Raises:
        UserError: there is neither, or no image in it.
    """
    for inner, depth in ((place / f"{name}.tar", 0), (place / name, 1)):
        if inner.kind() is not None:
            store, members = _stores.opened(inner, depth=depth)
            if found := [member for member in members if member.name.lower().endswith(".png")]:
                return store, found
            raise missing(inner, "PNG files in it")
    raise missing(place, f"{name}.tar, nor a folder {name}")
