"""MNIST: 60,000 + 10,000 handwritten digits of 28 x 28 pixels.

Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits (1998). `path` is the folder of the four idx
files, packed by gzip or not. With `binarised`, a pixel is 1 where it was 128 or more, else 0: a fixed threshold, and
NOT the stochastic binarisation of Larochelle and Murray (2011) that many tables of likelihoods are about.
"""

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndm.data import places
from ndm.data.places import File
from ndm.data.sources._base import Examples, Opened, Part
from ndm.data.sources._published import Published, missing
from ndm.errors import UserError

SHAPE = (1, 28, 28)
CLASSES = 10
THRESHOLD = 128
MD5 = {
    "train-images": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels": "a25bea736e30d166cdddb491f175f624",
    "t10k-images": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels": "27ae3e4e09519cfbb04c329615203637",
}
"""Of the unpacked files."""
ROWS = {"train": 60_000, "t10k": 10_000}
WANTED = "the folder of MNIST's four idx files (train-images-idx3-ubyte.gz and so on)"
MOST = 2**27
"""Bytes that a packed file is unpacked to, at most."""


@dataclass(frozen=True)
class Idx(Part):
    """A file of images and that of their labels: 47 million bytes at most, so both are read whole."""

    images: File
    labels: File
    count: int
    binarised: bool

    @property
    def rows(self) -> int:
        return self.count

    def read(self) -> Examples:
        raw, labels = idx(unpacked(self.images), 3, self.images), idx(unpacked(self.labels), 1, self.labels)
        raw = (raw >= THRESHOLD).astype(np.uint8) if self.binarised else raw.copy()
        return Examples(raw.reshape(-1, *SHAPE), labels.astype(np.int64))


class Config(Published):
    kind: Literal["mnist"] = "mnist"
    held_out: int = Field(default=5000, gt=0)
    """Training examples that become the split "validation"."""
    binarised: bool = False
    """Two levels by a fixed threshold; not the stochastic binarisation."""

    @property
    def shape(self) -> tuple[int, ...]:
        return SHAPE

    @property
    def levels(self) -> int:
        return 2 if self.binarised else 256

    @property
    def title(self) -> str:
        return "mnist-binarised" if self.binarised else "mnist"

    def files(self) -> Mapping[str, File]:
        place = places.place(self.path, WANTED)
        there = {file.name: file for file in place.files(depth=1).values()} if place.kind() == "folder" else {}
        found: dict[str, File] = {}
        for name in MD5:
            form = "idx3-ubyte" if name.endswith("images") else "idx1-ubyte"
            names = [f"{name}{dot}{form}{packed}" for dot in "-." for packed in ("", ".gz")]
            if not (here := [there[n] for n in names if n in there]):
                raise missing(place, f"{names[0]}(.gz)")
            found[name] = here[0]
        return found

    def open(self) -> Opened:
        files, parts = self.files(), list[Idx]()
        for split, expected in ROWS.items():
            images, labels = files[f"{split}-images"], files[f"{split}-labels"]
            content = {file: unpacked(file) for file in (images, labels)}
            raw, numbers = idx(content[images], 3, images), idx(content[labels], 1, labels)
            if raw.shape[1:] != SHAPE[1:] or len(raw) != len(numbers) or not len(raw) or numbers.max() >= CLASSES:
                raise UserError(
                    f"{images} has images {list(raw.shape)} and {labels.name} {len(numbers)} labels, expected [N, 28, "
                    f"28] and N, from 0 to {CLASSES - 1}: they do not belong together; fetch them again."
                )
            self.require(images, "the number of images", len(raw), expected)
            for name, file in (("images", images), ("labels", labels)):
                found = hashlib.md5(content[file]).hexdigest()
                self.require(file, "the MD5 (unpacked)", found, MD5[f"{split}-{name}"])
            parts.append(Idx(images, labels, len(raw), self.binarised))
        return Opened(parts, self.splits(parts[0].rows, parts[1].rows))


def unpacked(file: File) -> bytes:
    """The bytes of a file, unpacked if it is a .gz."""
    if file.size > MOST:
        raise UserError(f"{file} has {file.size} bytes, which no file of MNIST has; fetch it again.")
    content = file.read()
    if not file.name.endswith(".gz"):
        return content
    try:
        unpacker = zlib.decompressobj(wbits=31)
        found = unpacker.decompress(content, MOST)
        if not unpacker.eof:
            raise EOFError
        return found
    except (zlib.error, EOFError, gzip.BadGzipFile):
        raise UserError(f"{file} is damaged: it is not a whole gzip file; fetch it again.") from None


def idx(content: bytes, dimensions: int, file: File) -> NDArray[np.uint8]:
    """The array of bytes in an idx file: 0, 0, 8 (unsigned byte), dimensions, their sizes (big-endian), the bytes.

    Raises:
        UserError: it is not such a file, or not a whole one.
    """
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes([0, 0, 8, dimensions]):
        raise UserError(f"{file} is not an idx file of bytes in {dimensions} dimensions; fetch it again.")
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) - start != prod(shape):
        raise UserError(
            f"{file} is damaged: it has {len(content) - start} bytes of the {prod(shape)} that it announces; fetch it "
            "again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
