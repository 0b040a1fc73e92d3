"""Where the time of a step goes: seconds by name, on the stream of a GPU as on a CPU."""

import time
from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel


class Clock:
    """Adds up laps by name until it is read.

    On CUDA a lap is the time between two events on the stream, which is read once a record and not waited for before.
    The laps of a step that wait for the host (data, checkpoint) are the host's time everywhere.
    """

    def __init__(self, device: torch.device) -> None:
        self._events = device.type == "cuda"
        self._seconds: dict[str, float] = {}
        self._pending: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def add(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    @contextmanager
    def host(self, name: str) -> Generator[None]:
        """A lap of the host's clock."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    @contextmanager
    def lap(self, name: str) -> Generator[None]:
        """A lap of the device's clock."""
        if not self._events:
            with self.host(name):
                yield
            return
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        yield
        last.record()
        self._pending.append((name, first, last))

    def read(self) -> dict[str, float]:
        """Seconds by name since the last reading."""
        for name, first, last in self._pending:
            last.synchronize()
            self.add(name, first.elapsed_time(last) / 1000)
        self._pending.clear()
        seconds, self._seconds = self._seconds, {}
        return seconds

    def watch(self, module: DistributedDataParallel) -> None:
        """Count the time in which gradients travel, which overlaps with the backward pass; on CPUs only.

        On a GPU the travel is on a stream of its own, which a profiler shows and this does not.
        """
        if not self._events:
            module.register_comm_hook(self, _timed)  # pyright: ignore[reportUnknownMemberType]


def _timed(clock: Clock, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """What DistributedDataParallel does without a hook, with the time from its start to its end."""
    began = time.perf_counter()

    def done(future: torch.futures.Future[Tensor]) -> Tensor:
        clock.add("communication", time.perf_counter() - began)
        return future.value()

    return allreduce_hook(dist.group.WORLD, bucket).then(done)  # pyright: ignore[reportArgumentType]
