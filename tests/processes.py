"""A program under test: its output goes to files, and whatever it starts is found again and ended with it.

Every program starts a session in the sense of the operating system; all that it starts stays in it, also what outlives
the program. So what is left of it can be found and ended by the session's number, and nobody else is touched.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

LONG = 1800.0
"""Seconds after which a test gives up: only what hangs takes so long, on a loaded machine too; all else waits no longer
than it must."""

RAY_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Helpers of Ray that wait a minute for a cluster that died before they end."""


class Process:
    """A program run in `folder`; leaving the block ends all that is left of it."""

    def __init__(self, program: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]) -> None:
        """Start it; `log` is the path of its output files, but for their endings .stdout and .stderr."""
        self._stdout, self._stderr = (log.with_name(f"{log.name}.{name}") for name in ("stdout", "stderr"))
        # Not pipes: a process that outlives the program would hold them open.
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                program,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                # As at a terminal, also where the tests run in the background and Ctrl-C is ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end = time.monotonic() + LONG
        while self.running() and time.monotonic() < end:
            for process in self.running():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.poll()
            time.sleep(0.1)

    @property
    def output(self) -> str:
        return self._stdout.read_text()

    @property
    def errors(self) -> str:
        return self._stderr.read_text()

    def running(self, title: str = "") -> list[psutil.Process]:
        """The program and all that it started and that is still alive, with a title that begins so."""
        found: list[psutil.Process] = []
        for pid in _pids(self.process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was listed
                if title_of(process := psutil.Process(pid)).startswith(title):
                    found.append(process)
        return found

    def until(self, condition: Callable[[], Any], seconds: float = LONG) -> None:
        """Wait for something that the program does."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the program ended before\n{self.output}\n{self.errors}"
            assert time.monotonic() < end, f"waited in vain\n{self.output}\n{self.errors}"
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Of the program itself, also where another one waits for it that has entered a host."""
        process = psutil.Process(self.process.pid)
        return next((child.pid for child in process.children() if process.name() == "nsenter"), process.pid)

    def signal(self, number: int) -> None:
        """Send a signal to the program itself."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Only the program itself, as the out-of-memory killer would; the workers that it leaves have to end."""
        self.signal(signal.SIGKILL)
        assert self.ended(but=RAY_AGENTS) == -signal.SIGKILL

    def cut(self) -> None:
        """All of it at once, as when the machine loses its power."""
        for process in self.running():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert self.ended(but=RAY_AGENTS) == -signal.SIGKILL

    def interrupt(self) -> None:
        """Ctrl-C at a terminal: it reaches every process of the foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self, but: tuple[str, ...] = ()) -> int:
        """The exit status, when nothing is left of the program, but for processes with such titles."""
        status = self.process.wait(LONG)
        end = time.monotonic() + LONG
        while left := [title for title in map(title_of, self.running()) if not title.startswith(but)]:
            assert time.monotonic() < end, f"left behind: {left}"
            time.sleep(0.05)
        return status


def title_of(process: psutil.Process) -> str:
    """Its command line, as far as it has one and lives."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return " ".join(process.cmdline())
    return ""


def _pids(session: int) -> list[int]:
    """The processes of a session that are alive."""
    alive: list[int] = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
    return alive
