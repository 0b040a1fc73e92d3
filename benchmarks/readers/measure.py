"""What a reader costs, measured from inside the process that reads: its batches are followed, and one line is printed.

The process time is that of every process of the session in the sense of the operating system (the reader, Ray and its
workers, the workers of a DataLoader), so the machine's other work does not count.
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

if TYPE_CHECKING:  # preparation does not need it
    from torch import Tensor

BATCH = 256
SHAPE = (3, 32, 32)
WARM = 5
"""The first fifth of an epoch is not measured."""


class Task(NamedTuple):
    """What the benchmark asks of a reader, as JSON in its one argument."""

    source: str
    """The images [N, 3, 32, 32] in a .npy file."""
    folder: str
    """Where the reader's own files are."""
    images: int
    workers: int
    """Of a DataLoader."""
    seconds: float
    """After which the measurement ends, if the epoch has not."""
    action: str = "time"
    """write: make the reader's own files; time: follow the batches; check: only add up one epoch."""


def processes() -> list[psutil.Process]:
    """Those of this session that are alive."""
    session, found = os.getsid(0), list[psutil.Process]()
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                found.append(process)
        except (ProcessLookupError, PermissionError):
            pass
    return found


def cpu() -> float:
    """Seconds of process time that the session has used; what a process used that ended is its parent's."""
    total = 0.0
    for process in processes():
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system + used.children_user + used.children_system
    return total


class Memory:
    """Peaks of the memory that is not shared, sampled: of this process, and of all the workers of Ray together."""

    def __init__(self, every: float = 0.25) -> None:
        self.own = self.workers = 0
        self._every, self._done = every, threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> dict[str, int]:
        self._done.set()
        return {"own": self.own, "workers": self.workers}

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            workers = 0
            for process in processes():
                try:
                    used = process.memory_info()
                    if process.pid == os.getpid():
                        self.own = max(self.own, used.rss - used.shared)
                    elif process.name().startswith("ray::"):
                        workers += used.rss - used.shared
                except psutil.NoSuchProcess:
                    continue
            self.workers = max(self.workers, workers)


def follow(task: Task, epochs: "Iterator[Iterable[Tensor]]") -> dict[str, Any]:
    """Wall and process seconds of up to an epoch of batches [256, 3, 32, 32], after a fifth of one.

    Each item of `epochs` is one epoch; one that never ends is as good. With `check`: the images and the sum of all
    pixels of the first epoch.
    """
    if task.action == "check":
        images = total = 0
        for batch in next(epochs):
            images, total = images + len(batch), total + int(batch.sum())
        return {"images": images, "sum": total}
    began, seen, start, memory = time.perf_counter(), 0, None, Memory()
    first = wall = used = 0.0
    for epoch in epochs:
        for batch in epoch:
            assert str(batch.dtype) == "torch.uint8"
            assert batch.shape[1:] == SHAPE
            seen += len(batch)
            first = first or time.perf_counter() - began
            if start is None and seen >= task.images // WARM:
                start, wall, used = seen, time.perf_counter(), cpu()
            elif start is not None and (seen - start >= task.images or time.perf_counter() - wall > task.seconds):
                found = {"images": seen - start, "wall": time.perf_counter() - wall, "cpu": cpu() - used}
                return {**found, "first": first, **memory.close()}
    raise AssertionError("an epoch was shorter than it should be")


def asked(argument: str) -> Task:
    return Task(**json.loads(argument))


def answer(found: dict[str, Any]) -> None:
    print(f"\n{json.dumps(found)}", flush=True)
