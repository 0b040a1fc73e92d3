"""What a folder of files consists of: each by its path, with its size and SHA-256, and a hash over all that is said.

A folder counts as whole when its listing, written last, is that of the files in it.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

BLOCK = 1 << 20


def _inside(path: str) -> str:
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError("it must be a path below the folder")
    return path


class File(BaseModel):
    """Size and SHA-256 of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "File":
        """OSError if it cannot be read."""
        content = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                content.update(block)
            return cls(bytes=stream.tell(), sha256=content.hexdigest())


def described(content: bytes) -> File:
    """The file that would have this content."""
    return File(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


class Sealed(BaseModel):
    """A record that carries the hash of all else it says. Each kind of it reads one format, the default of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    sha256: str = ""

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """From what `text` wrote.

        Raises:
            ValueError: it is no such record, of another format, or was changed; in words that follow "it".
        """
        try:
            record = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "form"
            raise ValueError(f"cannot be used ({where}: {first['msg']})") from None
        if record.format != (own := cls.model_fields["format"].default):
            raise ValueError(f"is of format {record.format}, not {own}")
        if record.sha256 != record.digest():
            raise ValueError("was changed")
        return record

    def sealed(self) -> Self:
        """With the hash of all it says."""
        return self.model_copy(update={"sha256": self.digest()})

    def text(self) -> str:
        return self.model_dump_json(indent=1)

    def digest(self) -> str:
        """SHA-256 of the rest."""
        rest = self.model_dump(mode="json", exclude={"sha256"})
        return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


class Listing(Sealed):
    """The files of a folder by their relative paths, and what else is said of them."""

    format: int = 1
    about: dict[str, Any] = {}
    files: dict[Annotated[str, AfterValidator(_inside)], File]

    @classmethod
    def of(cls, folder: Path, paths: Iterable[str], about: dict[str, Any] | None = None) -> "Listing":
        """The listing of these files. OSError if one cannot be read."""
        return cls.made({path: File.of(folder / path) for path in sorted(paths)}, about)

    @classmethod
    def made(cls, files: dict[str, File], about: dict[str, Any] | None = None) -> "Listing":
        """The listing of files that are known."""
        return cls(files=dict(sorted(files.items())), about=about or {}).sealed()

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files.values())

    def wanting(self, folder: Path) -> list[str]:
        """The paths whose files are not there, or are not what the listing says."""
        return [path for path, file in self.files.items() if not same(folder / path, file)]


def same(path: Path, file: File) -> bool:
    """Whether the file at `path` is this one."""
    return path.is_file() and path.stat().st_size == file.bytes and File.of(path) == file
