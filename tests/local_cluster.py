"""The cluster of cluster/local, as a user starts it; and what has to be on this machine for that."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
from processes import LONG

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = REPOSITORY / "cluster" / "local"

INSTALL = """
import packages
from ndm.errors import UserError
try:
    packages.require(packages.POSTGRES | packages.CEPH, install=True)
except UserError as error:
    print(error)
"""


def missing() -> str | None:
    """What keeps a cluster from starting here, in a sentence, after an attempt to install it; None if nothing does."""
    if not sys.platform.startswith("linux"):
        return "The local cluster is made for Linux, and this is none."
    done = subprocess.run(
        [sys.executable, "-c", INSTALL], env=_environment(str(COMMAND)), capture_output=True, text=True, timeout=LONG
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() or None


class LocalCluster:
    """A cluster in a folder, which is up within a block and leaves nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = self.folder / "home"
        self.platform = str(REPOSITORY / "platform")

    def __enter__(self) -> Self:
        try:
            self.run("up", "--cpus", "1")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.run("down", "--delete")

    def run(self, verb: str, *arguments: str, status: int = 0) -> str:
        """What the command prints, which ends with this status."""
        command = [sys.executable, str(COMMAND), verb, "--folder", str(self.folder), *arguments]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=LONG, check=False)
        assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    @property
    def client(self) -> dict[str, str]:
        """The environment of a shell that has sourced `client.env`."""
        shell = ["bash", "-ec", 'source "$1"; env -0', "shell", str(self.folder / "client.env")]
        said = subprocess.run(shell, env=_environment(), capture_output=True, text=True, check=True).stdout
        return dict(line.split("=", 1) for line in said.split("\0") if line)

    def python(
        self, code: str, *arguments: str, status: int = 0, cwd: Path | None = None, **environment: str | None
    ) -> str:
        """What a program of a client prints, on either output; a setting of None is taken out of its environment."""
        settings = self.client | environment
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={name: value for name, value in settings.items() if value is not None},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def gcs(self) -> str:
        """HOST:PORT of the head, for a driver on this machine."""
        return f"127.0.0.1:{self.first_port + 100}"

    @property
    def first_port(self) -> int:
        return json.loads((self.folder / "cluster.json").read_text())["settings"]["port"]

    @property
    def temp(self) -> Path:
        """The folder of the sockets."""
        return Path(json.loads((self.folder / "cluster.json").read_text())["temp"])

    def pid(self, service: str) -> int:
        return json.loads((self.folder / "pids" / f"{service}.json").read_text())["pid"]

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Service -> its process and all that this one has started."""
        leaders = {file.stem: psutil.Process(self.pid(file.stem)) for file in (self.folder / "pids").glob("*.json")}
        return {name: [leader, *leader.children(recursive=True)] for name, leader in leaders.items()}

    def listening(self) -> Iterator[tuple[str, str, int]]:
        """(service, address, port) of each TCP port that a process of the cluster has opened."""
        for service, processes in self.processes().items():
            for process in processes:
                for connection in process.net_connections("inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        yield service, connection.laddr.ip, connection.laddr.port
                    assert connection.status != psutil.CONN_NONE, (service, connection)  # UDP


def _environment(*paths: str) -> dict[str, str]:
    """Of the tests, without what is another cluster's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "AWS_", "MLFLOW_", "NDM_"))}
    return kept | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY / "platform"), *paths])}
