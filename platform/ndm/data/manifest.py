"""The manifest of a prepared data set: what it is, which files hold it, and one hash of its content.

`manifest.json` is written last, so a folder that has one is complete. `hash` covers what an example reader can see
(identity, shape, levels, the content of every shard in order) and not the bytes of the files: another version of
Parquet's writer leaves it as it is.
"""

import hashlib
import json
from math import prod
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ndm.data.folders import Folder, content, sizes
from ndm.errors import UserError

FORMAT = 1
FILE = "manifest.json"
LONGEST = 2**26
"""Bytes of one."""
REMEDY = "prepare it again with: ndm prepare EXPERIMENT"

Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


class Record(BaseModel):
    """Immutable, typed without coercion, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Shard(Record):
    """One file of a split."""

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name inside the data set's folder."""
    rows: int = Field(gt=0, lt=2**40)
    bytes: int = Field(gt=0, lt=2**40)
    sha256: str = Sha256
    """Of the file."""
    content_sha256: str = Sha256
    """Of the raw examples followed by their labels; see `ndm.data.shards`."""


class Manifest(Record):
    format: int = FORMAT
    name: str
    """Identity of the source."""
    version: str
    preparation: int
    """Version of the code that turned the source into rows."""
    row_seed: int
    """Seed of the one global shuffle of each split."""
    rows_per_shard: int = Field(gt=0)
    shape: tuple[Annotated[int, Field(gt=0, lt=2**32)], ...]
    """Of one example."""
    dtype: Literal["uint8", "float32"]
    levels: int = Field(ge=0)
    """Values a stored number can take; 0 for continuous data."""
    labels: int = Field(gt=0)
    """Number of classes."""
    splits: dict[str, tuple[Shard, ...]]
    hash: str = ""
    """Identity of the content; `signed()` fills it in."""

    @property
    def dimensions(self) -> int:
        """Numbers in one example."""
        return prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one raw example."""
        return self.dimensions * np.dtype(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        """Of all shards."""
        return sum(shard.bytes for entries in self.splits.values() for shard in entries)

    def shards(self, split: str) -> tuple[Shard, ...]:
        """The files of a split, in the order of its rows.

        Raises:
            UserError: there is no such split.
        """
        if split not in self.splits:
            raise UserError(f"The data set {self.name} has no split {split}; it has {', '.join(self.splits)}.")
        return self.splits[split]

    def rows(self, split: str) -> int:
        """Number of examples of a split."""
        return sum(shard.rows for shard in self.shards(split))

    def digest(self) -> str:
        """SHA-256 over canonical JSON of all that determines the content."""
        about = self.model_dump(mode="json", exclude={"format", "rows_per_shard", "splits", "hash"})
        about["splits"] = {
            split: [[shard.rows, shard.content_sha256] for shard in shards] for split, shards in self.splits.items()
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def signed(self) -> Self:
        """The same manifest with its hash."""
        return self.model_copy(update={"hash": self.digest()})

    @classmethod
    def read(cls, folder: Folder) -> "Manifest":
        """The manifest of the data set in `folder`.

        Raises:
            UserError: it is missing, not readable, of another format, or was changed after it was written.
        """
        try:
            text = content(folder, FILE, most=LONGEST)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"The data set {folder.name} is not prepared here; prepare it with: ndm prepare EXPERIMENT"
            ) from None
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            raise UserError(f"{FILE} of the data set {folder.name} is not JSON; {REMEDY}") from None
        found = tree.get("format") if isinstance(tree, dict) else None
        if found != FORMAT:
            raise UserError(
                f"{FILE} of the data set {folder.name} has format {found}, this program reads {FORMAT}; {REMEDY}"
            )
        try:
            manifest = cls.model_validate_json(text)
        except ValidationError as error:
            key = ".".join(map(str, error.errors()[0]["loc"]))
            raise UserError(f"{FILE} of the data set {folder.name} has no valid value for {key}; {REMEDY}") from None
        if manifest.hash != manifest.digest():
            raise UserError(
                f"{FILE} of the data set {folder.name} was changed: its hash does not match its content; {REMEDY}"
            )
        return manifest


def check(folder: Folder) -> Manifest:
    """The manifest, after a look at every shard's size; cheap. `ndm.data.shards.verify` reads every byte.

    Raises:
        UserError: naming the first shard that is missing or has another size.
    """
    manifest, there = Manifest.read(folder), sizes(folder)
    for split in manifest.splits:
        for shard in manifest.shards(split):
            if shard.file not in there:
                raise missing(folder, shard)
            if (size := there[shard.file]) != shard.bytes:
                raise damaged(folder, shard, f"it has {size} bytes, the manifest says {shard.bytes}")
    return manifest


def missing(folder: Folder, shard: Shard) -> UserError:
    return UserError(f"The shard {shard.file} of the data set {folder.name} is missing; {REMEDY}")


def damaged(folder: Folder, shard: Shard, why: str) -> UserError:
    return UserError(f"The shard {shard.file} of the data set {folder.name} is damaged: {why}; {REMEDY}")
