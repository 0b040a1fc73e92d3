"""Where a prepared data set lies: a folder of the local disk, or one in a store that is read through a cache.

Parts of a store come whole and are verified, so the cache goes by content: many processes may share it, none needs to
lock it, and what is damaged in it is fetched again.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

from ndm import files
from ndm.data.places import Place, filesystem, reading
from ndm.errors import UserError

REMEDY = "correct storage.data=..."
MOST = 2**33
"""Bytes of a file; no shard comes near it."""


@dataclass(frozen=True)
class Remote:
    """A folder in a store; plain data, so that it can be sent to tasks on any node."""

    place: Place
    cache: Path | None
    """Folder on the node that reads, made when it is needed; None to ask the store for everything."""
    limit: int
    """Bytes that the cache may hold; what was used least recently goes first."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.place.name

    def __str__(self) -> str:
        return str(self.place)

    def sizes(self) -> dict[str, int]:
        """Bytes of the files that are there, by name; UserError if the store does not answer."""
        with reading(self.place, REMEDY):
            selector = pafs.FileSelector(self.place.path, allow_not_found=True)
            found = filesystem(self.place.system).get_file_info(selector)
        return {info.base_name: info.size for info in found if info.type == pafs.FileType.File}

    def content(self, file: str, sha256: str | None = None, most: int = MOST) -> bytes:
        """A file's bytes, `most` at the most; where their hash is known, from the cache if they are in it.

        Raises:
            FileNotFoundError: there is none.
            UserError: the store does not answer, or the file is larger.
        """
        if sha256 is None or self.cache is None:
            return self._fetch(file, most)
        kept = self.cache / sha256
        with contextlib.suppress(FileNotFoundError):
            found = kept.read_bytes()
            if hashlib.sha256(found).hexdigest() == sha256:
                os.utime(kept)
                return found
        found = self._fetch(file, most)
        if len(found) <= self.limit and hashlib.sha256(found).hexdigest() == sha256:
            self._keep(self.cache, kept, found)
        return found

    def upload(self, folder: Path, files: list[str], progress: Callable[[int, int], None] | None = None) -> None:
        """Copy files of a local folder, in that order; each appears whole. UserError if the store refuses them."""
        store = filesystem(self.place.system)
        for number, file in enumerate(files, 1):
            target = self.place / file
            with reading(target, REMEDY, "written"), store.open_output_stream(target.path) as stream:
                stream.write((folder / file).read_bytes())
            if progress is not None:
                progress(number, len(files))

    def _fetch(self, file: str, most: int) -> bytes:
        source, store = self.place / file, filesystem(self.place.system)
        with reading(source, REMEDY):
            try:
                with store.open_input_file(source.path) as stream:
                    if (size := stream.size()) > most:
                        raise UserError(f"{source} has {size} bytes, more than it may have: prepare the data again.")
                    return stream.read()
            except FileNotFoundError:
                pass
        raise FileNotFoundError(file)

    def _keep(self, cache: Path, kept: Path, found: bytes) -> None:
        """Put a file into the cache; a full disk is no reason to stop."""
        with contextlib.suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=cache, prefix=".", delete=False) as file:
                try:
                    file.write(found)
                    file.flush()
                    os.replace(file.name, kept)
                except OSError:
                    os.unlink(file.name)
                    raise
            held = sorted((path.stat().st_mtime_ns, path.stat().st_size, path) for path in cache.iterdir())
            total = sum(size for _, size, _ in held)
            for _, size, path in held[:-1]:
                if total > self.limit:
                    path.unlink(missing_ok=True)
                    total -= size


Folder = Path | Remote


def content(folder: Folder, file: str, sha256: str | None = None, most: int = MOST) -> bytes:
    """A file's bytes, `most` at the most; errors as for `Remote.content`."""
    if isinstance(folder, Remote):
        return folder.content(file, sha256, most)
    try:
        return files.content(folder / file, most)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise UserError(f"{folder / file} cannot be read: {str(error.strerror).lower()}; mend or remove it.") from None


def require_bucket(place: Place, remedy: str = REMEDY) -> None:
    """Look whether the bucket of a place in a store is there; listing one that is not finds nothing and says nothing.

    Raises:
        UserError: it is not, or the store does not answer.
    """
    bucket = Place(place.system, place.path.partition("/")[0])
    with reading(bucket, remedy):
        found = filesystem(bucket.system).get_file_info(bucket.path)
    if found.type == pafs.FileType.NotFound:
        raise UserError(f"There is no bucket {bucket}: create it, or {remedy}")


def at(place: Place) -> Folder:
    """The folder of a place; one in a store is read without a cache."""
    return Remote(place, None, 0) if place.system else Path(place.path)


def below(place: Place) -> list[Folder]:
    """The folders in a place, by name, none where there is nothing.

    Raises:
        UserError: there is no such bucket, or the store does not answer.
    """
    if not place.system:
        return [path for path in sorted(Path(place.path).glob("*")) if path.is_dir()]
    require_bucket(place)
    with reading(place, REMEDY):
        selector = pafs.FileSelector(place.path, allow_not_found=True)
        found = filesystem(place.system).get_file_info(selector)
    names = sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)
    return [at(place / name) for name in names]


def sizes(folder: Folder) -> dict[str, int]:
    """Bytes of the files that are there, by name."""
    if isinstance(folder, Remote):
        return folder.sizes()
    return {entry.name: entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()}
