"""Files that appear whole or not at all."""

import os
from pathlib import Path


def publish(path: Path, content: bytes | memoryview) -> None:
    """Write beside `path`, flush to the disk, and rename: a kill or a power cut leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)
