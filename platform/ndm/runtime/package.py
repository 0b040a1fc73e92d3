"""The working tree as one file that a cluster unpacks: the library, the jobs and the lock, as they are here now."""

import hashlib
import io
import json
import re
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ndm.errors import UserError
from ndm.tracking.provenance import RECORD, code, git

FOLDERS = ("platform", "jobs", "analysis")
FILES = ("constraints.txt", "pyproject.toml", "LICENSE")
SECRETS = re.compile(r"(^|/)(\.env|\.netrc|auth_token|credentials|id_(rsa|ed25519)|.*\.(pem|key|p12))$")
MOST_BYTES = 50 * 2**20
"""Of one package; Ray's own limit is 100 MiB or more."""
LONG_AGO = (1980, 1, 1, 0, 0, 0)


class Package(NamedTuple):
    """A zip of the working tree; equal trees give equal bytes."""

    content: bytes
    files: int
    provenance: Mapping[str, str]
    """Commit of the tree, and whether something was changed since."""

    @property
    def name(self) -> str:
        return f"ndm-{hashlib.sha256(self.content).hexdigest()[:16]}.zip"

    def line(self) -> str:
        """What it is, for the terminal."""
        commit, dirty = self.provenance["git.commit"], self.provenance["git.dirty"]
        state = {"True": " with changes that are in no commit", "False": ""}.get(dirty, "")
        tree = f"commit {commit[:12]}{state}" if commit != "unknown" else "of no Git work tree"
        return f"{self.files} files, {len(self.content) / 1e6:.2f} MB, {tree}"


def pack(repository: Path, more: Mapping[str, bytes]) -> Package:
    """Pack what a job needs of the tree: files of Git and those not yet added, but none that Git ignores.

    Args:
        more: other files of the package, by their path in it.

    Raises:
        UserError: a file looks like a secret, or the package would be too large.
    """
    provenance = code(repository)
    contents = {path: (repository / path).read_bytes() for path in _paths(repository)}
    contents |= {RECORD: json.dumps(provenance, indent=1).encode(), **more}
    for path in contents:
        if SECRETS.search(path):
            raise UserError(f"{path} looks like a secret, and jobs are sent with all of {', '.join(FOLDERS)}: move it.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(contents):
            entry = zipfile.ZipInfo(path, LONG_AGO)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            file.writestr(entry, contents[path])
    package = Package(buffer.getvalue(), len(contents), provenance)
    if len(package.content) > MOST_BYTES:
        largest = max(contents, key=lambda path: len(contents[path]))
        raise UserError(
            f"The package of the job would have {len(package.content) >> 20} MiB: move {largest} elsewhere."
        )
    return package


def _paths(repository: Path) -> list[str]:
    try:
        listed = git(repository, "ls-files", "-co", "--exclude-standard", "-z", "--", *FOLDERS, *FILES)
        found = [name.decode() for name in listed.split(b"\0") if name]
    except (OSError, subprocess.SubprocessError):  # no Git work tree
        below = (
            path for folder in FOLDERS for path in (repository / folder).rglob("*") if "__pycache__" not in path.parts
        )
        found = [*FILES, *(path.relative_to(repository).as_posix() for path in below)]
    return sorted(path for path in set(found) if (repository / path).is_file())
