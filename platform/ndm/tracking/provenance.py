"""What a result depends on besides its configuration: the code, the versions, the kind of machine.

Nothing here names a person, a host, a directory or the environment: runs are published.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

from ndm import __version__

LIBRARIES = ("torch", "ray", "mlflow", "numpy")
RECORD = "provenance.json"
"""What `code` found where a tree was packed; the tree lies in no Git work tree where it is unpacked."""
LARGEST_HASHED = 1 << 20  # bytes; of a larger file only name and size count


def provenance(repository: Path) -> dict[str, str]:
    """Tags for a run. `repository` is a directory of the Git work tree that the code runs from.

    Keys: `git.commit`, `git.dirty` ("True", "False", "unknown" outside Git) and, if dirty, `git.diff` (12 hex
    digits, equal for equal changes); `version.<library>`; `machine`, `cpus`, and `gpus` where torch is loaded
    and sees any.
    """
    machine = {"machine": f"{platform.system()} {platform.machine()}", "cpus": str(os.cpu_count())}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        names = Counter(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        machine["gpus"] = ", ".join(f"{count} x {name}" for name, count in names.items())
    return code(repository) | versions() | machine


def code(repository: Path) -> dict[str, str]:
    """Commit of the code, and a hash of the changes that are not in it."""
    with contextlib.suppress(OSError, ValueError):
        packed = json.loads((repository / RECORD).read_bytes())
        return {key: str(packed[key]) for key in ("git.commit", "git.dirty", "git.diff") if key in packed}
    try:
        commit = git(repository, "rev-parse", "HEAD").decode().strip()
        top = Path(os.fsdecode(git(repository, "rev-parse", "--show-toplevel")).removesuffix("\n"))
        changed = git(top, "diff", "HEAD", "--name-only", "--no-renames", "--no-ext-diff", "-z")
        untracked = git(top, "ls-files", "--others", "--exclude-standard", "-z")
    except (OSError, subprocess.SubprocessError):  # no Git, no repository, no commit, somebody else's
        return {"git.commit": "unknown", "git.dirty": "unknown"}
    names = (changed + untracked).split(b"\0")[:-1]
    if not names:
        return {"git.commit": commit, "git.dirty": "False"}
    digest = hashlib.sha256()
    for name in names:
        file = top / os.fsdecode(name)
        size = file.stat().st_size if file.is_file() else -1
        digest.update(b"%b\0%d\0" % (name, size))
        if 0 < size <= LARGEST_HASHED:
            digest.update(file.read_bytes())
    return {"git.commit": commit, "git.dirty": "True", "git.diff": digest.hexdigest()[:12]}


def git(repository: Path, *arguments: str) -> bytes:
    command = ["git", "-c", "core.fsmonitor=false", "--no-optional-locks", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that decide results."""
    found = {"version.ndm": __version__, "version.python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[f"version.{library}"] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[f"version.{library}"] = "absent"
    return found
