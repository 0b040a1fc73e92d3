"""Arrays in .npy files and in .npz archives, read a range of rows at a time and never unpickled."""

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ndm.data.places import File, printable
from ndm.errors import UserError

LOCAL_HEADER = 30
"""Bytes before the name in front of a zip's member; the lengths of name and extra field end them."""
LONGEST_HEADER = 10_000
DENSEST = 1040
"""Bytes that one byte of an archive can stand for; deflate packs no closer."""
LARGEST_ROW = 2**28
"""Bytes."""


@dataclass(frozen=True)
class Array:
    """An array on a disk or in a store."""

    file: File
    member: str | None
    """Its name in the archive; None for a .npy file."""
    shape: tuple[int, ...]
    dtype: str
    start: int
    """Bytes before the first row."""

    def __str__(self) -> str:
        return str(self.file) if self.member is None else f"{printable(self.member)} of {self.file}"

    def read(self, first: int, last: int) -> NDArray[Any]:
        """The rows first .. last - 1. UserError where the file is damaged."""
        dtype = np.dtype(self.dtype)
        row = math.prod(self.shape[1:]) * dtype.itemsize
        with _stream(self.file, self.member) as stream:
            stream.seek(self.start + first * row)
            content = stream.read((last - first) * row)
        if len(content) < (last - first) * row:
            raise UserError(f"{self} is damaged: it ends before row {last} of {self.shape[0]}; fetch or save it again.")
        return np.frombuffer(content, dtype).reshape(last - first, *self.shape[1:])


def array(file: File, member: str | None = None) -> Array:
    """What the header of a .npy says.

    Raises:
        UserError: it is no .npy, has objects or named fields, or lies in Fortran's order.
    """
    where = f"{printable(member)} of {file}" if member else str(file)
    with _stream(file, member) as stream:
        try:
            version = npy.read_magic(stream)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
            shape, fortran, dtype = read(stream, max_header_size=LONGEST_HEADER)
        except (ValueError, KeyError, SyntaxError, TokenError):  # a header is a literal of Python
            raise UserError(
                f"{where} is not an array of numpy's format; save it with numpy.save or numpy.savez."
            ) from None
        start = stream.tell()
    if dtype.hasobject or dtype.fields:
        raise UserError(f"{where} holds {dtype}, which takes a pickle to read: it is not read; save plain numbers.")
    if any(size < 0 for size in shape):
        raise UserError(f"{where} has the axes {list(shape)}: it is damaged; save it again.")
    row = math.prod(shape[1:]) * dtype.itemsize
    if math.prod(shape[:1]) * row > file.size * (DENSEST if member else 1):
        raise UserError(f"{where} announces more rows than it can hold: it is damaged; save it again.")
    if row > LARGEST_ROW:
        raise UserError(f"{where} has rows of {row} bytes, more than an example may have; save smaller ones.")
    if fortran and len(shape) > 1:
        raise UserError(f"{where} lies in Fortran's order; save numpy.ascontiguousarray of it.")
    return Array(file, member, shape, dtype.str, start)


def arrays(file: File) -> dict[str, Array]:
    """The arrays of an .npz, by name.

    Raises:
        UserError: it is no .npz, or one of them cannot be read; see `array`.
    """
    with _archive(file) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
    return {name.removesuffix(".npy"): array(file, name) for name in members}


@contextmanager
def _archive(file: File) -> Iterator[zipfile.ZipFile]:
    with file.open() as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                yield archive
        except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, RuntimeError):
            raise UserError(f"{file} is damaged: it is not a whole .npz; fetch or save it again.") from None


@contextmanager
def _stream(file: File, member: str | None) -> Iterator[BinaryIO]:
    """The bytes of a .npy, wherever it is."""
    if member is None:
        with file.open() as stream:
            yield stream
        return
    with _archive(file) as archive:
        info = archive.getinfo(member)
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1 and archive.fp is not None:
            # As it is: a seek through the archive's own stream would read all that lies before.
            raw = cast(BinaryIO, archive.fp)
            raw.seek(info.header_offset)
            header = raw.read(LOCAL_HEADER)
            if len(header) < LOCAL_HEADER:
                raise EOFError
            start = info.header_offset + LOCAL_HEADER + sum(struct.unpack("<26xHH", header))
            yield cast(BinaryIO, _Window(raw, start, info.file_size))
        else:
            with archive.open(info) as stream:
                yield cast(BinaryIO, stream)


class _Window:
    """A range of a stream's bytes, as a stream of its own."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream, self._start, self._size = stream, start, size
        stream.seek(start)

    def seek(self, position: int) -> None:
        """Go to a byte of the window."""
        self._stream.seek(self._start + position)

    def tell(self) -> int:
        return self._stream.tell() - self._start

    def read(self, count: int) -> bytes:
        """Up to `count` bytes, not beyond the window."""
        return self._stream.read(min(count, max(self._size - self.tell(), 0)))
