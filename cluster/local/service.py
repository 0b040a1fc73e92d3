"""One process of the cluster: how it is made, started, asked whether it works, and stopped."""

import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path

from process import Process
from state import State

from ndm.errors import UserError

PATIENCE = 180.0  # seconds until it works; a start takes two to ten
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TZ")
"""What a process takes over from the environment of who starts it: no keys, no paths to other code."""


class Service(ABC):
    """A process of the cluster in `state`."""

    name: str
    user: str | None = None
    """Whom it runs as, where the cluster's owner is root and it refuses root."""
    farewell = signal.SIGTERM
    follows: str | None = None
    """The service that it has to be started after, and again with."""

    def __init__(self, state: State) -> None:
        self.state = state

    @property
    def folder(self) -> Path:
        """Where it keeps its data."""
        return self.state.data / self.name

    @property
    def log(self) -> Path:
        return self.state.logs / f"{self.name}.log"

    @property
    def process(self) -> Process:
        return Process(self.state.pids / f"{self.name}.json")

    @property
    def address(self) -> str:
        """Where it answers, for the user; empty if that is nobody's business."""
        return ""

    def make(self) -> None:  # noqa: B027
        """Make its data, in its empty folder, once."""

    def before(self) -> None:  # noqa: B027
        """What each start needs."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments, which hold no secret."""

    def environment(self) -> dict[str, str]:
        """What the program finds in its environment beside `KEPT`."""
        return {}

    @abstractmethod
    def answers(self) -> bool:
        """Whether it works, as far as a quick question tells."""

    def after(self) -> None:  # noqa: B027
        """What has to be there once it works; each `up` sees to it."""

    def works(self) -> bool:
        return self.process.pid is not None and self.answers()

    def start(self) -> None:
        """Start it, after what is left of an earlier process has ended, and wait until it works.

        Raises:
            UserError: it ends, or does not work within `PATIENCE`.
        """
        self.stop()
        made = self.folder / "made"
        if not made.exists():
            shutil.rmtree(self.folder, ignore_errors=True)  # the half of what a killed command made
            self.folder.mkdir(mode=0o700)
            self.make()
            made.touch()
        self.before()
        process = self.process
        process.start(self.command(), self.surroundings(), self.log, self.user)
        end = time.monotonic() + PATIENCE
        while not self.works():
            if process.pid is None or time.monotonic() > end:
                self.stop()
                raise UserError(f"{self.name} does not start: see the end of {self.log}.")
            time.sleep(0.1)

    def stop(self) -> bool:
        """End it; whether there was anything to end."""
        return self.process.stop(self.farewell)

    def surroundings(self) -> dict[str, str]:
        """All of its environment."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return kept | {"HOME": str(self.state.home)} | self.environment()


def status_of(url: str, **headers: str) -> int | None:
    """The status with which HTTP answers; None if nothing does."""
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
