"""Files that somebody else may have put there: plain ones alone are read, and only as much of them as is expected.

A pipe would be waited for, a device such as /dev/zero read for ever, a file with holes fill the memory.
"""

import errno
import os
import stat
from pathlib import Path


def content(path: Path, most: int, *, links: bool = True) -> bytes:
    """The bytes of a file, `most` of them at the most; with `links` off, not those behind a symbolic link.

    Raises:
        OSError: it is not there, is no plain file, is larger, or cannot be read.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    with open(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a plain file", str(path))
        if found.st_size > most:
            raise too_large(str(path))
        return file.read()


def too_large(name: str) -> OSError:
    """The error of a file that has more bytes than it may have."""
    return OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
