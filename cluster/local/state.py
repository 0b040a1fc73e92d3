"""What a cluster consists of on disk: one folder, and one with a short path for sockets; both known from one file."""

import contextlib
import fcntl
import json
import os
import random
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ndm.errors import UserError

LOOPBACK = "127.0.0.1"
SINGLE_PORTS, PORTS_A_NODE = 100, 100
FIRST_PORTS = range(20000, 31000, 100)
"""Below the ports that Linux gives to connections on their way out."""


class Settings(NamedTuple):
    """What is decided when a cluster is made, and holds until it is deleted."""

    nodes: int
    """Of Ray beside the head."""
    cpus: int
    """Of each node and of the head."""
    endpoint: str
    """Of an S3 store that the user has; empty where the cluster has its own."""
    port: int
    """The first of the ports, which follow each other."""


class State:
    """The cluster in a folder: made anew, or found there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.home, self.data, self.runs = (self.folder / part for part in ("home", "data", "runs"))
        self.logs, self.pids = self.folder / "logs", self.folder / "pids"
        self._file = self.folder / "cluster.json"

    @property
    def made(self) -> bool:
        """Whether there is a cluster."""
        return self._file.is_file()

    @property
    def settings(self) -> Settings:
        return Settings(**json.loads(self._file.read_text())["settings"])

    @property
    def temp(self) -> Path:
        """A folder with a short path: that of a socket has at most 107 characters."""
        return Path(json.loads(self._file.read_text())["temp"])

    def make(self, asked: dict[str, int | str | None]) -> None:
        """Make the folders of a new cluster, or see that the one that is there is what was asked for.

        Raises:
            UserError: it is another one; the ports are taken.
        """
        if self.made:
            for name, value in asked.items():
                if value is not None and value != (has := getattr(self.settings, name)):
                    raise UserError(
                        f"The cluster in {self.folder} was made with --{name} {has}: leave the option out, or make "
                        f"another cluster with --folder, or remove this one with down --delete."
                    )
            temp = self.temp if self.temp.is_dir() else _short_folder()  # a restart of the machine empties it
            settings = self.settings
        else:
            given = {name: value for name, value in asked.items() if value is not None}
            nodes = int(given.get("nodes", 1))
            cpus = int(given.get("cpus", max(1, (os.cpu_count() or 1) // (nodes + 1))))
            ports = SINGLE_PORTS + (nodes + 1) * PORTS_A_NODE
            port = _free(ports, int(given["port"]) if "port" in given else None)
            settings = Settings(nodes, cpus, str(given.get("endpoint", "")), port)
            temp = _short_folder()
        for folder in (self.home, self.logs, self.pids, self.runs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.folder, self.data):  # the user of PostgreSQL passes through
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)
        text = json.dumps({"settings": settings._asdict(), "temp": str(temp)}, indent=1)
        secret_file(self._file, text)

    def port(self, offset: int) -> int:
        """One of the ports for what is there once."""
        assert offset < SINGLE_PORTS
        return self.settings.port + offset

    def node_port(self, node: int, offset: int) -> int:
        """One of the ports of a node of Ray; node 0 is the head."""
        assert offset < PORTS_A_NODE
        return self.settings.port + SINGLE_PORTS + node * PORTS_A_NODE + offset

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One command at a time on one cluster.

        Raises:
            UserError: there is another one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"Another command is at work on the cluster in {self.folder}: wait for it.") from None
            yield

    def delete(self) -> None:
        """Remove the folders with all that is in them."""
        shutil.rmtree(self.temp, ignore_errors=True)
        shutil.rmtree(self.folder)


def secret_file(path: Path, text: str) -> Path:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
    return path


def secret(path: Path) -> str:
    """The random secret in a file, which is made at the first call."""
    if not path.is_file():
        secret_file(path, secrets.token_hex(32))
    return path.read_text()


def _short_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ndm-c", dir="/tmp"))
    folder.chmod(0o711)
    return folder


def _free(count: int, first: int | None) -> int:
    """The first of so many ports in a row that nobody has; `first` itself, if it is given.

    Raises:
        UserError: there are none.
    """
    for start in [first] if first is not None else random.sample(FIRST_PORTS, len(FIRST_PORTS)):
        taken = [port for port in range(start, start + count) if not _can_listen(port)]
        if not taken:
            return start
        if first is not None:
            raise UserError(f"Port {taken[0]} is taken, and --port {first} needs {count} in a row: choose another.")
    raise UserError(f"No {count} ports in a row are free on this machine: end what listens there.")


def _can_listen(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", port))
        except OSError:
            return False
        return True
