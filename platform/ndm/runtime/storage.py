"""Object storage: the store of checkpoints in a bucket, which may fail, throttle or be away for a while."""

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import pyarrow.fs as pafs

from ndm.data.places import Place, filesystem, reading
from ndm.files import too_large
from ndm.training.store import LAST, Store

ATTEMPTS = 7
FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
"""Seconds before the second attempt, then twice as long each time: half a minute altogether."""
REMEDY = "correct storage.checkpoints=..."

T = TypeVar("T")


@dataclass(frozen=True)
class Bucket(Store):
    """A folder of a store; plain data, so that it can be sent to any node. A name counts by its LAST file."""

    place: Place

    def __str__(self) -> str:
        return str(self.place)

    def names(self) -> list[str]:
        """UserError if the store does not answer."""
        return [name.rpartition("/")[0] for name in self._files() if name.rpartition("/")[2] == LAST]

    def get(self, name: str, file: str, most: int) -> bytes:
        """UserError if the store does not answer: not to be taken for a file that is damaged."""
        source = self.place / f"{name}/{file}"

        def fetch() -> bytes | None:
            with filesystem(source.system).open_input_file(source.path) as stream:
                return stream.read() if stream.size() <= most else None

        if (content := self._reading(source, fetch)) is None:
            raise too_large(str(source))
        return content

    def put(self, name: str, files: Mapping[str, bytes]) -> None:
        """LAST is taken away first and written last, so that what counts is whole at every moment."""
        self._remove(name, LAST)
        for file in sorted(files, key=lambda file: file == LAST):
            self._write(self.place / f"{name}/{file}", files[file])

    def delete(self, name: str) -> None:
        folder = self.place / name
        with contextlib.suppress(OSError):
            self._remove(name, LAST)
            again(lambda: filesystem(folder.system).delete_dir(folder.path))

    def below(self, name: str) -> "Bucket":
        return Bucket(self.place / name)

    def _files(self) -> list[str]:
        """Relative paths of all files."""

        def look() -> list[pafs.FileInfo]:
            selector = pafs.FileSelector(self.place.path, recursive=True, allow_not_found=True)
            return filesystem(self.place.system).get_file_info(selector)

        start = len(self.place.path.rstrip("/")) + 1
        found = self._reading(self.place, look)
        return [info.path[start:] for info in found if info.type == pafs.FileType.File]

    def _reading(self, what: Place, operation: Callable[[], T]) -> T:
        with reading(what, REMEDY):
            try:
                return again(operation)
            except FileNotFoundError:
                pass
        raise FileNotFoundError(str(what))

    def _write(self, target: Place, content: bytes) -> None:
        store = filesystem(target.system)

        def write() -> None:
            with store.open_output_stream(target.path) as stream:
                stream.write(content)
            if store.get_file_info(target.path).size != len(content):
                raise OSError(f"{target} did not arrive whole")

        again(write)

    def _remove(self, name: str, file: str) -> None:
        target = self.place / f"{name}/{file}"

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                filesystem(target.system).delete_file(target.path)

        again(remove)


def again(operation: Callable[[], T]) -> T:
    """The result of an operation that a store may refuse for a while; after ATTEMPTS, its error.

    What is not there is not asked for again. The waits are random, so that many workers do not come back at once.
    """
    wait = FIRST_WAIT
    for _ in range(ATTEMPTS - 1):
        try:
            return operation()
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, LONGEST_WAIT)
    return operation()
