"""The programs that pip cannot bring: PostgreSQL and Ceph, from Debian's packages."""

import os
import shutil
import subprocess
from pathlib import Path

from ndm.errors import UserError

POSTGRES = {"initdb": "postgresql", "postgres": "postgresql", "createdb": "postgresql", "createuser": "postgresql"}
CEPH = {
    "ceph-mon": "ceph-mon",
    "ceph-mgr": "ceph-mgr",
    "ceph-osd": "ceph-osd",
    "radosgw": "radosgw",
    "ceph": "ceph-common",
    "ceph-authtool": "ceph-common",
    "monmaptool": "ceph-common",
    "radosgw-admin": "radosgw",
}
"""Program -> its package."""

PLACES = os.pathsep.join(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
POSTGRES_PLACES = "/usr/lib/postgresql"


def program(name: str) -> str:
    """Its path, which `require` has seen to be there."""
    path = _find(name)
    assert path is not None, name
    return path


def missing(programs: dict[str, str]) -> list[str]:
    """The packages of the programs that are not there."""
    return sorted({package for name, package in programs.items() if _find(name) is None})


def require(programs: dict[str, str], *, install: bool) -> None:
    """See that the programs are there, and install them if that is wanted.

    Raises:
        UserError: they are missing, or cannot be installed.
    """
    packages = missing(programs)
    if not packages:
        return
    remedy = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if not install:
        raise UserError(f"The cluster needs programs that are not installed: {remedy} (as root, up --install does it).")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise UserError(f"--install needs root and apt-get; have an administrator run: {remedy}")
    # RUNLEVEL=1: the packages start no services of the machine; the cluster starts its own.
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-qq", *command], env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
            raise UserError(f"apt-get {command[0]} failed ({said}): mend that, then: {remedy}")


def _find(name: str) -> str | None:
    """Debian keeps PostgreSQL's programs apart, by version; the newest counts."""
    if name in POSTGRES:
        versions = sorted(Path(POSTGRES_PLACES).glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
        if versions:
            return str(versions[-1])
    return shutil.which(name, path=PLACES)
