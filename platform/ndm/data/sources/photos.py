"""Patches of 16 x 16 or 32 x 32 pixels of the two photographs that ship with scikit-learn: colours without a download.

"china" and "flower" (scikit-learn's sample images, 640 x 427 pixels each, CC BY) are cut into three upright bands: the
left 448 columns are for training, the next 96 for validation, the last 96 for test. Patches overlap, `stride` pixels
apart, inside a band only, so no pixel is in two splits. Patches of a split are not independent: the standard error over
its images is too small. The label is the photograph's number.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndm.data.sources._base import Examples, Opened, Part
from ndm.data.sources._flips import Flipped
from ndm.errors import UserError

SHAPE = (427, 640, 3)
BANDS = {"train": (0, 448), "validation": (448, 544), "test": (544, 640)}
"""First and last column, the last one excluded."""
SHA256 = {
    "china.jpg": "e701459344fd69797154c91add3bb5d70e5ed1a61d8bed889bab3a796104698d",
    "flower.jpg": "3202904ed246795bf616c66d7859cd7c6080eff736c6e38dc5cc62779742033f",
}
"""Of the decoded photographs, uint8 [427, 640, 3] in C order."""


@dataclass(frozen=True, eq=False)
class Band(Part):
    """The patches of a band, from left to right in rows from the top."""

    pixels: NDArray[np.uint8]
    """[427, W, 3]."""
    label: int
    size: int
    stride: int

    @property
    def rows(self) -> int:
        height, width, _ = self.pixels.shape
        return ((height - self.size) // self.stride + 1) * ((width - self.size) // self.stride + 1)

    def read(self) -> Examples:
        windows = np.lib.stride_tricks.sliding_window_view(self.pixels, (self.size, self.size), axis=(0, 1))
        raw = windows[:: self.stride, :: self.stride].reshape(-1, 3, self.size, self.size)
        return Examples(np.ascontiguousarray(raw), np.full(len(raw), self.label, np.int64))


class Config(Flipped):
    kind: Literal["photos"] = "photos"
    size: Literal[16, 32] = 32
    """Pixels of a side."""
    stride: int = Field(default=8, gt=0, le=96)
    """Pixels from one patch to the next, across and down."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.size, self.size)

    @property
    def levels(self) -> int:
        return 256

    def identity(self) -> dict[str, str]:
        return {"name": f"photos{self.size}", "version": f"1-stride{self.stride}"}

    def open(self) -> Opened:
        photographs = load()
        parts = [
            Band(np.ascontiguousarray(pixels[:, first:last]), label, self.size, self.stride)
            for first, last in BANDS.values()
            for label, pixels in enumerate(photographs)
        ]
        per_band = [sum(p.rows for p in parts[i : i + len(SHA256)]) for i in range(0, len(parts), len(SHA256))]
        rows = np.split(np.arange(sum(per_band)), np.cumsum(per_band)[:-1])
        return Opened(parts, dict(zip(BANDS, rows, strict=True)))


def load() -> list[NDArray[np.uint8]]:
    """The two photographs, each [427, 640, 3].

    Raises:
        UserError: they are decoded to other pixels than those that this source knows.
    """
    from sklearn.datasets import load_sample_images  # a second to import; only preparation needs it

    bunch: Any = load_sample_images()
    return [validate(pixels, name) for pixels, name in zip(bunch.images, SHA256, strict=True)]


def validate(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """A photograph, if its pixels are the known ones; else a UserError."""
    found = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
    if pixels.shape != SHAPE or pixels.dtype != np.uint8 or found != SHA256[name]:
        raise UserError(
            f"The photograph {name} that scikit-learn ships is decoded here to {pixels.dtype} {list(pixels.shape)} of "
            f"the SHA-256 {found[:12]}, expected uint8 {list(SHAPE)} of {SHA256[name][:12]}: this is another data "
            "set; install the versions of Pillow and scikit-learn that constraints.txt names."
        )
    return pixels
