"""Where checkpoints lie: folders of files that appear whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ndm import files as plain

LAST = "manifest.json"
"""The file that makes a folder count; it is written after all others."""


class Store(Protocol):
    """A place for checkpoints, by name. What `put` returned from outlives a loss of power."""

    def names(self) -> list[str]:
        """Of what was put here, in any order; it may have been damaged since."""
        ...

    def get(self, name: str, file: str, most: int) -> bytes:
        """One file, of `most` bytes at the most.

        Raises:
            FileNotFoundError: it is not there.
            OSError: it cannot be read, or is larger.
        """
        ...

    def put(self, name: str, files: Mapping[str, bytes]) -> None:
        """Publish the files, LAST among them, in the place of what had the name.

        Raises:
            OSError: they cannot be kept; nothing else was changed.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove what has the name; what cannot be removed stays."""
        ...

    def below(self, name: str) -> "Store":
        """A store of its own inside this one; its name is none of those here."""
        ...


class Disk(Store):
    """A folder of the local disk: written under another name, synced, renamed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def names(self) -> list[str]:
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return [path.name for path in found if path.is_dir() and not path.is_symlink()]

    def get(self, name: str, file: str, most: int) -> bytes:
        return plain.content(self.folder / name / file, most, links=False)  # links are not of our making

    def put(self, name: str, files: Mapping[str, bytes]) -> None:
        final, temporary = self.folder / name, self.folder / f".{name}.partial"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._tidy()
            temporary.mkdir()
            for file, content in files.items():
                _write_synced(temporary / file, content)
            _sync_folder(temporary)
            if final.exists():  # a broken one, or the same position of a run that was killed and repeated
                shutil.rmtree(final)
            temporary.rename(final)
            _sync_folder(self.folder)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)  # a full disk wants its room back
            raise

    def delete(self, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def below(self, name: str) -> "Disk":
        return Disk(self.folder / name)

    def _tidy(self) -> None:
        """Remove what was being written when a writer was killed."""
        for partial in self.folder.glob(".*.partial"):
            shutil.rmtree(partial, ignore_errors=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
