"""Pictures as they are found in the world, and the squares of pixels that are made of them.

Pillow decodes them; PNG, JPEG, WebP, BMP and PPM are admitted. Colours become RGB by Pillow's own rules (or grey, by
ITU-R 601-2), a turn noted in the EXIF data of a photograph is not made. Then, in this order: the crop, a centred square
of the shorter side or none; and the resampling to size x size, with Pillow's filter of that name: `box` is the average
of the pixels whose centres lie in the new pixel (all and only those it covers, where the size divides), `bilinear`,
`bicubic` and `lanczos` are antialiased. What has the size already is not resampled.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ndm.data.places import printable
from ndm.data.sources._base import Examples, Part, rows_together
from ndm.data.sources._stores import Member, Store
from ndm.errors import UserError

Crop = Literal["none", "centre"]
Filter = Literal["box", "bilinear", "bicubic", "lanczos"]
FILTERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm")
MODES = {"1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"}
LARGEST = 2**27
"""Pixels of a picture; more is a mistake, or meant to fill the memory."""


@dataclass(frozen=True)
class Form:
    """What becomes of a picture."""

    size: int
    channels: int = 3
    crop: Crop = "none"
    filter: Filter | None = None
    """None for pictures that must have the size."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size


@dataclass(frozen=True, eq=False)
class Pictures(Part):
    """Some pictures of a store."""

    store: Store
    members: Sequence[Member]
    labels: NDArray[np.int64]
    form: Form

    @property
    def rows(self) -> int:
        return len(self.members)

    def read(self) -> Examples:
        raw = np.empty((self.rows, *self.form.shape), np.uint8)
        for i, (member, content) in enumerate(zip(self.members, self.store.read(self.members), strict=True)):
            raw[i] = decode(content, self.form, f"{printable(member.name)} of {self.store}")
        return Examples(raw, self.labels)


def parts(store: Store, members: Sequence[Member], labels: NDArray[np.int64], form: Form) -> list[Pictures]:
    """Parts of as many neighbours as are held together."""
    step = rows_together(form.shape, 256)
    return [
        Pictures(store, tuple(members[first : first + step]), labels[first : first + step], form)
        for first in range(0, len(members), step)
    ]


def by_name(names: Sequence[str], store: Store) -> NDArray[np.int64]:
    """The order of the names, in which rows are counted wherever they lie; UserError where two are alike."""
    array = np.array(names)
    order = np.argsort(array, kind="stable")
    array = array[order]
    if (same := array[1:] == array[:-1]).any():
        name = printable(str(array[:-1][same][0]))
        raise UserError(f"{store} has two pictures of the name {name}; rename or remove one.")
    return order


def decode(content: bytes, form: Form, where: str) -> NDArray[np.uint8]:
    """The pixels [C, size, size] of a picture.

    Raises:
        UserError: naming `where` it came from: it is no picture, damaged, or has not the form it needs.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > LARGEST:
                raise UserError(f"{where} has {picture.width} x {picture.height} pixels; make it smaller.")
            return _square(_coloured(picture, form.channels, where), form, where)
    except UserError:
        raise
    except Exception:  # of many types, from bytes that are anything
        raise UserError(f"{where} is not a whole picture that can be read ({', '.join(FORMATS)}).") from None


def _coloured(picture: Image.Image, channels: int, where: str) -> Image.Image:
    if picture.mode not in MODES:
        raise UserError(f"{where} has colours of the kind {picture.mode}; make it 8-bit RGB or grey.")
    if picture.has_transparency_data and np.asarray(picture.convert("RGBA").getchannel("A")).min() < 255:
        raise UserError(f"{where} is transparent in places; lay it on a background first.")
    return picture.convert("RGB" if channels == 3 else "L")


def _square(picture: Image.Image, form: Form, where: str) -> NDArray[np.uint8]:
    width, height = picture.size
    if form.crop == "none" and (width != height or (form.filter is None and width != form.size)):
        remedy = "take data.crop=centre, or make it so" if form.filter else "it is not one of this data set"
        wanted = "as wide as high" if form.filter else f"{form.size} x {form.size}"
        raise UserError(f"{where} has {width} x {height} pixels, expected {wanted}: {remedy}.")
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    if side == form.size:
        picture = picture.crop(box)
    else:
        assert form.filter is not None
        picture = picture.resize((form.size, form.size), FILTERS[form.filter], box=box)
    pixels = np.asarray(picture, np.uint8).reshape(form.size, form.size, form.channels)
    return pixels.transpose(2, 0, 1)
