"""Many small files in one place: a folder, a tar or a zip. Indexed once, then read by whoever has a few of the members.

A member of a tar is found by its offset, so no part of a data set has to be read to reach another. Names only sort,
label and select members: nothing is ever unpacked to disk, so they cannot lead anywhere.
"""

import gzip
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from ndm.data.places import REMEDY, File, Place, printable
from ndm.errors import UserError

LONGEST_READ = 16 * 2**20
"""Bytes of neighbouring members that are read at once; of a store, a request for each of them would take hours."""
WIDEST_GAP = 2**16
LARGEST, LARGEST_PACKED = 2**31, 2**28
"""Bytes of a member; more is no file of a data set that these sources know. A thousandth of them may be packed."""
LONGEST_HEADER = 2**20
"""Bytes of what a tar says of one member."""


@dataclass(frozen=True, slots=True)
class Member:
    """One of the small files."""

    name: str
    offset: int
    """Of its bytes; of use in a tar."""
    size: int
    modified: int = 0

    @property
    def base(self) -> str:
        """Its name without folders."""
        return self.name.rpartition("/")[2]


class Store(ABC):
    """Where the members lie; plain data."""

    @abstractmethod
    def read(self, members: Sequence[Member]) -> Iterator[bytes]:
        """Their contents, one after another.

        Raises:
            UserError: one of them is not there, or is damaged.
        """

    @abstractmethod
    def files(self, members: Sequence[Member]) -> dict[str, File]:
        """The files on the disk or in the bucket that hold the members, by name."""

    @abstractmethod
    def __str__(self) -> str:
        """Its path."""


@dataclass(frozen=True)
class Folder(Store):
    """Each member is a file."""

    place: Place

    def read(self, members: Sequence[Member]) -> Iterator[bytes]:
        for member in members:
            yield self.file(member).read()

    def files(self, members: Sequence[Member]) -> dict[str, File]:
        return {member.name: self.file(member) for member in members}

    def file(self, member: Member) -> File:
        """The file that a member is."""
        return File(self.place.system, (self.place / member.name).path, member.size, member.modified)

    def __str__(self) -> str:
        return str(self.place)


@dataclass(frozen=True)
class Tar(Store):
    """A tar; of a packed one, whatever lies before a member has to be unpacked to reach it."""

    file: File
    packed: bool = False

    def read(self, members: Sequence[Member]) -> Iterator[bytes]:
        for run in _runs(members):
            first, last = run[0].offset, run[-1].offset + run[-1].size
            with self.stream() as stream:
                stream.seek(first)
                block = stream.read(last - first)
            if len(block) < last - first:
                raise damaged(self.file, f"it ends before its member {_shown(run[-1].name)}")
            for member in run:
                yield block[member.offset - first : member.offset - first + member.size]

    def files(self, members: Sequence[Member]) -> dict[str, File]:
        return {self.file.name: self.file}

    def __str__(self) -> str:
        return str(self.file)

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """The bytes of the tar."""
        with self.file.open() as stream:
            if not self.packed:
                yield stream
                return
            try:
                with gzip.GzipFile(fileobj=stream) as unpacked:
                    yield cast(BinaryIO, unpacked)
            except (EOFError, gzip.BadGzipFile, zlib.error):
                raise damaged(self.file, "it is not a whole gzip file") from None

    def members(self, start: int = 0) -> list[Member]:
        """The files in the tar that begins at byte `start`; UserError where it is not a whole tar."""
        members: list[Member] = []
        with self.stream() as stream:
            stream.seek(start)
            try:
                with tarfile.open(fileobj=cast(BinaryIO, _Headers(stream)), mode="r:") as tar:
                    while (info := tar.next()) is not None:
                        # Or a million of them stay in memory; it is what getmembers() lists, though not annotated.
                        tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                        if info.isdir():
                            continue
                        if info.size < 0:
                            raise tarfile.TarError
                        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
                            raise damaged(self.file, f"{_shown(info.name)} in it is a link or another odd entry")
                        members.append(Member(info.name, info.offset_data, info.size))
                    end = tar.offset
            except UserError:
                raise
            except (tarfile.TarError, ValueError, OverflowError):  # the latter two from odd numbers in a header
                raise damaged(self.file, "it is not a whole tar") from None
            stream.seek(end)  # where a tar ends with a block of zeros
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise damaged(self.file, f"the tar breaks off at byte {end}")
            while self.packed and stream.read(LONGEST_READ):
                pass  # only at its end does gzip know whether all was right
        return [member for member in members if not member.base.startswith(".")]


class _Headers:
    """A tar's stream as its index is read: tarfile reads a name as long as the header in front of it says."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, count: int) -> bytes:
        """TarError for more than any header has."""
        if count > LONGEST_HEADER:
            raise tarfile.ReadError("a header that is too long")
        return self._stream.read(count)


@dataclass(frozen=True)
class Zip(Store):
    """A zip, plain or deflated."""

    file: File

    def read(self, members: Sequence[Member]) -> Iterator[bytes]:
        with self.archive() as archive:
            for member in members:
                try:
                    yield archive.read(member.name)
                except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, UnicodeDecodeError, RuntimeError):
                    raise damaged(self.file, f"its member {_shown(member.name)} cannot be unpacked") from None

    def files(self, members: Sequence[Member]) -> dict[str, File]:
        return {self.file.name: self.file}

    def __str__(self) -> str:
        return str(self.file)

    @contextmanager
    def archive(self) -> Iterator[zipfile.ZipFile]:
        """The zip; UserError where it is none."""
        with self.file.open() as stream:
            try:
                archive = zipfile.ZipFile(stream)
            except (zipfile.BadZipFile, ValueError, RuntimeError):
                raise damaged(self.file, "it is not a whole zip") from None
            with archive:
                yield archive

    def members(self) -> list[Member]:
        """The files in the zip."""
        with self.archive() as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
        for info in infos:
            if info.flag_bits & 1:
                raise UserError(f"{self.file} is locked with a password; unpack it and {REMEDY}")
        return [
            member
            for info in infos
            if not (member := Member(info.filename, info.header_offset, info.file_size)).base.startswith(".")
        ]


def opened(place: Place, *, depth: int | None = 0, packed: bool = False) -> tuple[Store, list[Member]]:
    """What lies in a folder (to a depth, see `Place.files`), a tar (or with `packed` also a tar.gz) or a zip.

    Raises:
        UserError: it is none of them, or damaged.
    """
    if place.kind() == "folder":
        files = place.files(depth)
        return Folder(place), [Member(name, 0, file.size, file.modified) for name, file in files.items()]
    file, name = place.file(), place.name.lower()
    if name.endswith(".zip"):
        store, members = (zipped := Zip(file)), zipped.members()
    elif name.endswith((".tar", ".tar.gz", ".tgz")):
        if not packed and not name.endswith(".tar"):
            raise UserError(f"{place} is compressed, so it cannot be read in parts: unpack it with gunzip first.")
        store, members = (tar := Tar(file, not name.endswith(".tar"))), tar.members()
    else:
        raise UserError(f"{place} is neither a folder nor a tar or zip; {REMEDY}")
    most = LARGEST if isinstance(store, Tar) and not store.packed else LARGEST_PACKED
    for member in members:
        if member.size > most:
            raise damaged(file, f"{_shown(member.name)} in it would have {member.size} bytes")
    return store, members


def damaged(file: Place, why: str) -> UserError:
    return UserError(f"{file} is damaged: {why}; fetch it again, or {REMEDY}")


def _shown(name: str) -> str:
    return printable(name)[:100]


def _runs(members: Sequence[Member]) -> Iterator[list[Member]]:
    """Neighbours that one read is good for."""
    run: list[Member] = []
    for member in members:
        if run:
            end = run[-1].offset + run[-1].size
            close = 0 <= member.offset - end <= WIDEST_GAP
            if not close or member.offset + member.size - run[0].offset > LONGEST_READ:
                yield run
                run = []
        run.append(member)
    if run:
        yield run
