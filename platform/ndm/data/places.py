"""Files of a local disk or of an S3 store, read alike, and the sentences said where they cannot be read.

A path is a local one or `s3://bucket/key`, optionally with `?region=...`, `scheme=...` or `endpoint_override=...`.
Credentials come from where the AWS tools look for them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, a profile, the
machine's role), the endpoint from AWS_ENDPOINT_URL; a path that carries credentials is refused.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, BinaryIO, Literal, cast
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
from pydantic import AfterValidator

from ndm.errors import UserError

READ_AHEAD = 2**20
"""Bytes asked of a store at a time: a request costs as much as a megabyte."""
MOST_AT_ONCE = 2**31
"""Bytes of a file that is read whole; more is no file of a data set, or a file of holes."""
OPTIONS = {"region", "scheme", "endpoint_override"}
BUCKET = r"[A-Za-z0-9][A-Za-z0-9._-]*"
REMEDY = "give the place of the data as data.path=..."


@dataclass(frozen=True)
class Place:
    """A path on the local disk (`system` is empty) or in a store."""

    system: str
    """s3://bucket with its options, or nothing."""
    path: str

    def __truediv__(self, name: str) -> "Place":
        return Place(self.system, f"{self.path.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return printable(f"s3://{self.path}" if self.system else self.path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def kind(self) -> Literal["file", "folder"] | None:
        """What is there; None for nothing. UserError as for `reading`."""
        with reading(self):
            info = filesystem(self.system).get_file_info(self.path)
        if info.type == pafs.FileType.File:
            return "file"
        return "folder" if info.type == pafs.FileType.Directory else None

    def file(self) -> "File":
        """The file that is there, with its size. UserError as for `reading`."""
        with reading(self):
            info = filesystem(self.system).get_file_info(self.path)
            if info.type != pafs.FileType.File:
                raise FileNotFoundError
        return File(self.system, self.path, info.size, info.mtime_ns or 0)

    def files(self, depth: int | None = 0) -> "dict[str, File]":
        """The files in this folder, by relative path, sorted; hidden ones (.name) are left out.

        With a depth of 1, also those in its folders, and so on; with None all. UserError as for `reading`.
        """
        with reading(self):
            if depth is None and not self.system:
                self._refuse_links()
            selector = pafs.FileSelector(self.path, recursive=depth is None)
            found = filesystem(self.system).get_file_info(selector)
        files: dict[str, File] = {}
        for info in found:
            relative = info.path[len(self.path.rstrip("/")) + 1 :]
            if any(part.startswith(".") for part in relative.split("/")):
                continue
            if info.type == pafs.FileType.File:
                files[relative] = File(self.system, info.path, info.size, info.mtime_ns or 0)
            elif info.type == pafs.FileType.Directory and depth:
                below = (self / relative).files(depth - 1)
                files |= {f"{relative}/{name}": file for name, file in below.items()}
        return dict(sorted(files.items()))

    def _refuse_links(self) -> None:
        """A few links among folders make more paths than anyone could walk; UserError where a folder is one."""
        for folder, names, _ in os.walk(self.path):
            for name in names:
                if os.path.islink(link := os.path.join(folder, name)):
                    raise UserError(f"{printable(link)} is a link to a folder, which is not followed; {REMEDY}")


@dataclass(frozen=True)
class File(Place):
    """A file; plain data, opened anew by whoever reads it."""

    size: int
    modified: int
    """Time of its last change, in nanoseconds."""

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """A seekable stream of its bytes. UserError as for `reading`, also for what is read inside the block."""
        with reading(self):
            if self.system:
                store = filesystem(self.system).open_input_file(self.path)
                # A NativeFile is a raw stream in all but its type.
                with io.BufferedReader(cast(io.RawIOBase, store), READ_AHEAD) as stream:
                    yield stream
            else:
                with open(self.path, "rb") as stream:
                    yield stream

    def read(self) -> bytes:
        """All of it. UserError as for `reading`, or it is too large."""
        if self.size > MOST_AT_ONCE:
            raise UserError(f"{self} has {self.size} bytes, too many for a file of its kind; {REMEDY}")
        with self.open() as stream:
            return stream.read()

    def digest(self, method: str = "sha256") -> str:
        """Hash of its bytes, in hexadecimal digits; remembered while the file keeps its size and time."""
        return _digest(self, method)


@lru_cache(maxsize=2**20)
def _digest(file: File, method: str) -> str:
    with file.open() as stream:
        content = hashlib.new(method)
        while block := stream.read(READ_AHEAD):
            content.update(block)
        return content.hexdigest()


def fingerprint(files: Mapping[str, File]) -> str:
    """The first 12 digits of the SHA-256 over the sorted (name, SHA-256) of the files."""
    lines = "".join(f"{file.digest()} {name}\n" for name, file in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def without_secrets(path: str) -> str:
    """The path itself.

    Raises:
        ValueError: it is of another kind of store, or might carry credentials; in words that follow "it must be".
    """
    if "\0" in path:
        raise ValueError("a path, which has no character NUL")
    if "://" not in path:
        return path
    uri = urlsplit(path)
    if uri.scheme != "s3" or not re.fullmatch(BUCKET, uri.netloc):
        raise ValueError("a local path or s3://bucket/key, with credentials in AWS_ACCESS_KEY_ID and not in the path")
    if uri.fragment or {key for key, _ in parse_qsl(uri.query, keep_blank_values=True)} - OPTIONS or "@" in uri.query:
        raise ValueError(f"s3://bucket/key with no more options than {', '.join(sorted(OPTIONS))}")
    return path


DataPath = Annotated[str, AfterValidator(without_secrets)]
"""A path in a configuration."""


def inside(path: str, name: str) -> str:
    """The path of what has that name in the folder at a valid path."""
    folder, question, options = path.partition("?")
    return f"{folder.rstrip('/')}/{name}{question}{options}"


def at(path: str) -> Place:
    """The place of a valid path, whatever is there."""
    if "://" not in path:
        return Place("", os.path.abspath(os.path.expanduser(path)))
    uri = urlsplit(without_secrets(path))
    options = f"?{uri.query}" if uri.query else ""
    return Place(f"s3://{uri.netloc}{options}", f"{uri.netloc}{uri.path}".rstrip("/"))


def printable(name: str) -> str:
    """A name from a file, as it may stand in a sentence."""
    return name if name.isprintable() else ascii(name)[1:-1]


def place(path: str | None, wanted: str) -> Place:
    """The place that data.path names; `wanted` says what should be there.

    Raises:
        UserError: no path is given, there is nothing, or it cannot be looked at.
    """
    if path is None:
        raise UserError(f"data.path is not given: the data are read from {wanted}; give its path as data.path=...")
    found = at(path)
    if found.kind() is None:
        raise UserError(f"There is nothing at {found}: give {wanted} as data.path=...")
    return found


@lru_cache
def filesystem(system: str) -> pafs.FileSystem:
    """The disk (for nothing) or the store of a place; UserError if its address is none."""
    try:
        return pafs.FileSystem.from_uri(system)[0] if system else pafs.LocalFileSystem()
    except pa.ArrowInvalid:
        raise UserError(f"The store of {system} has an address that is none: check AWS_ENDPOINT_URL.") from None


@contextmanager
def reading(what: Place, remedy: str = REMEDY, done: str = "read") -> Iterator[None]:
    """Turns the errors of a disk or a store into a sentence that names the path and no credentials.

    `done` is what is done with it there: read or written.

    Raises:
        UserError: it is not there, may not be read, or the store does not answer.
    """
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"There is no file {what}; {remedy}") from None
    except EOFError:
        raise UserError(f"{what} ends too early; fetch it again, or {remedy}") from None
    except OSError as error:
        if not what.system:
            reason = error.strerror or "it is damaged"
            raise UserError(f"{what} cannot be {done}: {reason.lower()}; {remedy}") from None
        text = str(error)
        if re.search(r"ACCESS_DENIED|credential|INVALID_ACCESS_KEY|SIGNATURE|HTTP status 40[13]", text, re.IGNORECASE):
            raise UserError(
                f"{what} may not be {done} with the credentials that were found: set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, or {remedy}"
            ) from None
        if re.search(r"NO_SUCH|NOT_FOUND|HTTP status 404", text):
            raise UserError(f"There is nothing at {what}; {remedy}") from None
        if "AWS Error" not in text:
            raise UserError(f"{what} cannot be {done}: it is damaged; {remedy}") from None
        raise UserError(
            f"{what} cannot be {done}, as the store does not answer: check AWS_ENDPOINT_URL and the network, or "
            f"{remedy}"
        ) from None
