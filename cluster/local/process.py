"""A process that outlives the command that started it, and is found again by its number and its start.

Each starts a session of the operating system and what it starts stays in it, so that what it left behind is found too.
A number alone says nothing: after a crash it may be that of somebody else's process.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

BOOT = Path("/proc/sys/kernel/random/boot_id")


class Process:
    """The process that a file knows, if it lives."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def start(self, program: Sequence[str], environment: Mapping[str, str], log: Path, user: str | None = None) -> None:
        """Start it, with its output at the end of `log`; root may start it as another user."""
        as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
        with log.open("ab") as output:
            process = subprocess.Popen(
                program,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user,
            )
        record = {"pid": process.pid, "started": _started(process.pid), "boot": BOOT.read_text()}
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(record))
        new.replace(self._file)

    @property
    def pid(self) -> int | None:
        """Its number; None if it has ended."""
        record = self._record()
        if record is None or _started(record["pid"]) != record["started"]:
            return None
        return record["pid"]

    def running(self) -> list[psutil.Process]:
        """It and all that it started and that lives, also where it has ended itself."""
        record = self._record()
        if record is None:
            return []
        number, found = record["pid"], dict[int, psutil.Process]()
        if self.pid is None and psutil.pid_exists(number) and _started(number) is not None:
            return []  # the number is somebody else's, and no session of a living process has it
        with contextlib.suppress(psutil.NoSuchProcess):
            # A job of Ray and a process of PostgreSQL have sessions of their own.
            found |= {child.pid: child for child in psutil.Process(number).children(recursive=True)}
        for pid in [number, *psutil.pids()]:
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(pid) == number:
                    found[pid] = psutil.Process(pid)
        return [process for process in found.values() if alive(process)]

    def stop(self, number: int = signal.SIGTERM, patience: float = 20.0) -> bool:
        """End it and all that it started, first politely; whether there was anything to end."""
        left = self.running()
        if not left:
            self._file.unlink(missing_ok=True)
            return False
        for process in [process for process in left if process.pid == self.pid] or left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        end = time.monotonic() + patience
        while left := [process for process in {*left, *self.running()} if alive(process)]:
            if time.monotonic() > end:
                for process in left:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            time.sleep(0.1)
        self._file.unlink(missing_ok=True)
        return True

    def _record(self) -> dict[str, int] | None:
        """What the file says; nothing of an earlier start of the machine counts."""
        try:
            record = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return None
        return record if record["boot"] == BOOT.read_text() else None


def alive(process: psutil.Process) -> bool:
    """Whether it runs: what nobody has buried does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _started(pid: int) -> int | None:
    """When, in the kernel's ticks since the machine's start, which no change of the clock moves; None if it ended."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(rest[18])
