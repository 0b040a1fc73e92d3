"""CIFAR-10: 50,000 + 10,000 colour images of 32 x 32 pixels in ten classes.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009). `path` is the folder or the .tar.gz of the
binary version (data_batch_1.bin .. data_batch_5.bin, test_batch.bin; a label byte and 3072 pixel bytes a row) or of the
Python version (pickles, which are read by `_pickles`); both hold the same rows in the same order. Where both are there,
the binary one is read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from ndm.data import places
from ndm.data.places import File, printable
from ndm.data.sources import _pickles, _stores
from ndm.data.sources._base import Examples, Opened, Part
from ndm.data.sources._flips import Flipped
from ndm.data.sources._published import Published, missing
from ndm.data.sources._stores import Member, Store
from ndm.errors import UserError

SHAPE = (3, 32, 32)
PIXELS = 3072
CLASSES = 10
BATCHES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")
ROWS = 10_000
"""In a batch of the original."""
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""Of the files of the Python version."""
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")
WANTED = "the folder or .tar.gz of CIFAR-10, best its binary version (cifar-10-binary.tar.gz)"


@dataclass(frozen=True)
class Batch(Part):
    """One of the six files."""

    store: Store
    member: Member
    count: int

    @property
    def rows(self) -> int:
        return self.count

    def read(self) -> Examples:
        return decode(
            next(self.store.read([self.member])), self.member.base, f"{printable(self.member.name)} of {self.store}"
        )


class Found(NamedTuple):
    """Where the batches are."""

    store: Store
    members: Mapping[str, Member]
    """By name without a suffix, in order."""


class Config(Published, Flipped):
    kind: Literal["cifar10"] = "cifar10"
    held_out: int = Field(default=1000, gt=0)
    """Training examples that become the split "validation"."""

    @property
    def shape(self) -> tuple[int, ...]:
        return SHAPE

    @property
    def levels(self) -> int:
        return 256

    @property
    def title(self) -> str:
        return "cifar10"

    def files(self) -> Mapping[str, File]:
        found = self.find()
        return found.store.files(list(found.members.values()))

    def find(self) -> Found:
        """The batches, of the binary version if it is there.

        Raises:
            UserError: there is no place, or one of the batches is not in it.
        """
        place = places.place(self.path, WANTED)
        store, members = _stores.opened(place, depth=1, packed=True)
        named = {member.base: member for member in members}
        for suffix in (".bin", ""):
            if f"test_batch{suffix}" in named:
                absent = [name for name in BATCHES if f"{name}{suffix}" not in named]
                if absent and (self.originals or len(absent) == len(BATCHES) - 1):
                    raise missing(place, f"{absent[0]}{suffix}")
                return Found(store, {name: named[f"{name}{suffix}"] for name in BATCHES if name not in absent})
        raise missing(place, "test_batch.bin or test_batch")

    def open(self) -> Opened:
        store, members = self.find()
        parts: list[Batch] = []
        counts = np.zeros((2, CLASSES), np.int64)
        for (name, member), content in zip(members.items(), store.read(list(members.values())), strict=True):
            where = f"{printable(member.name)} of {store}"
            examples = decode(content, member.base, where)
            self.require(where, "the number of images", len(examples.labels), ROWS)
            if not member.base.endswith(".bin"):
                self.require(where, "the MD5", hashlib.md5(content).hexdigest(), MD5[name])
            counts[int(name == "test_batch")] += np.bincount(examples.labels, minlength=CLASSES)
            parts.append(Batch(store, member, len(examples.labels)))
        for split, found, expected in zip(("training", "test"), counts, (5 * ROWS, ROWS), strict=True):
            self.require(store, f"{split} images by class", found.tolist(), [expected // CLASSES] * CLASSES)
        return Opened(parts, self.splits(sum(part.rows for part in parts[:-1]), parts[-1].rows))


def decode(content: bytes, name: str, where: str) -> Examples:
    """The images and labels in the bytes of a batch.

    Raises:
        UserError: it is not a batch, or has a label that is none.
    """
    if name.endswith(".bin"):
        if not content or len(content) % (1 + PIXELS):
            raise UserError(
                f"{where} has {len(content)} bytes, which are no whole rows of {1 + PIXELS}: it is damaged; fetch it "
                "again."
            )
        rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
        raw, labels = rows[:, 1:], rows[:, 0]
    else:
        found = _pickles.load(content, where)
        raw, labels = _pickles.table(found, "data", PIXELS, where), _pickles.labels(found, where)
    if len(labels) != len(raw) or labels.max() >= CLASSES:
        raise UserError(
            f"{where} has {len(raw)} images and {len(labels)} labels up to {labels.max()}; expected as many, up to "
            f"{CLASSES - 1}: it is damaged; fetch it again."
        )
    return Examples(np.ascontiguousarray(raw).reshape(-1, *SHAPE), labels.astype(np.int64))
