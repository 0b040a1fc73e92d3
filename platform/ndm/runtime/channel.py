"""The line between a group of workers on any nodes and the process that started it: records one way, a stop the other.

Its middle is an actor on the node of that process, so that records reach the run's folder wherever the workers are.
"""

import time
from pathlib import Path
from typing import Any

import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ndm.errors import UserError
from ndm.runtime.recorder import Recorder


class Mailbox:
    """What the workers said: progress and warnings not yet shown, records, what ends the training; and what they ask.

    It keeps no traceback of its own mistakes: a folder that cannot be written ends the training by a sentence.
    """

    def __init__(self, run: Path | None = None, levels: int = 0) -> None:
        self.recorder = Recorder(run, levels) if run else None
        self.groups = self.start = self.workers = 0
        self.progress: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.failures: set[tuple[int, int, str]] = set()
        self.end: Exception | None = None
        self.stop = False
        self.waiting: float | None = time.monotonic()

    def begin(self, position: int, workers: int = 1) -> None:
        """A group starts; after the first one that is news."""
        before, self.workers = self.workers, workers
        self.groups, self.start, self.waiting = self.groups + 1, position, None
        if self.groups > 1:
            where = f"goes on from the checkpoint at {position} examples" if position else "begins again"
            what = "A worker died" if workers == before else f"Now there are {workers} worker(s), not {before}"
            self.warnings.append(f"{what}; the training {where}.")

    def fell(self) -> None:
        """The group is gone, and another one is being put together."""
        self.waiting = time.monotonic()

    def record(self, position: int, metrics: dict[str, float], progress: dict[str, Any]) -> None:
        self.progress = progress
        self._write(lambda recorder: recorder.metrics(position, metrics))

    def picture(self, position: int, raw: NDArray[Any]) -> None:
        self._write(lambda recorder: recorder.picture(position, raw))

    def sync(self) -> None:
        self._write(lambda recorder: recorder.sync())

    def finish(self) -> None:
        """What comes later is of workers that are about to end, and will be made again by those after them."""
        self.sync()
        self.recorder = None

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def refuse(self, mistake: UserError) -> None:
        self.end = mistake

    def fail(self, rank: int, failure: str) -> None:
        """A training is a function of its position: what fails again without a step forward would fail every time."""
        what = rank, self.start, failure
        if what in self.failures and self.end is None:
            self.end = RuntimeError(f"A worker failed twice in the same way.\n{failure}")
        self.failures.add(what)

    def collect(self) -> tuple[dict[str, Any], list[str], float, Exception | None]:
        """Progress, new warnings, seconds without a group, and what ends the training."""
        warnings, self.warnings = self.warnings, []
        waited = 0.0 if self.waiting is None else time.monotonic() - self.waiting
        return self.progress, warnings, waited, self.end

    def ask_to_stop(self) -> None:
        self.stop = True

    def stopping(self) -> bool:
        return self.stop

    def _write(self, write: Any) -> None:
        try:
            if self.recorder is not None:
                write(self.recorder)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self.refuse(
                UserError(
                    f"The records of the training cannot be written ({reason}): make room, or correct "
                    "storage.root=..., then repeat the command; it goes on from the last checkpoint."
                )
            )


class Channel:
    """Both ends of the line; it travels to the workers by value."""

    def __init__(self, run: Path, levels: int) -> None:
        # Beside the driver: what asks for no CPU may be put anywhere, also on a host that the training outlives.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        mailbox: Any = ray.remote(num_cpus=0)(Mailbox)
        self._mailbox: Any = mailbox.options(scheduling_strategy=here).remote(run, levels)

    def begin(self, position: int, workers: int) -> None:
        """From rank 0, without waiting: a group of workers starts here."""
        self._mailbox.begin.remote(position, workers)

    def fell(self) -> None:
        """From whoever looks after the group: it is gone."""
        self._mailbox.fell.remote()

    def record(self, position: int, metrics: dict[str, float], progress: dict[str, Any]) -> None:
        """From rank 0, without waiting."""
        self._mailbox.record.remote(position, metrics, progress)

    def picture(self, position: int, raw: NDArray[Any]) -> None:
        """From rank 0, without waiting: stored values of samples."""
        self._mailbox.picture.remote(position, raw)

    def sync(self) -> None:
        """From rank 0: returns when what it sent outlives a loss of power."""
        ray.get(self._mailbox.sync.remote())

    def finish(self) -> None:
        """From the driver, at the end: what was sent is written, and what may still be sent is not."""
        ray.get(self._mailbox.finish.remote())

    def warn(self, message: str) -> None:
        """From a worker: a sentence for the user."""
        self._mailbox.warn.remote(message)

    def refuse(self, mistake: UserError) -> None:
        """From a worker: this ends the training, a restart would not help."""
        ray.get(self._mailbox.refuse.remote(mistake))

    def fail(self, rank: int, failure: str) -> None:
        """From a worker: the traceback of what it did not expect. It is given one more chance."""
        ray.get(self._mailbox.fail.remote(rank, failure))

    def stopping(self) -> bool:
        """From a worker: has a stop been asked for?"""
        return ray.get(self._mailbox.stopping.remote())

    def collect(self) -> tuple[dict[str, Any], list[str], float, Exception | None]:
        """From the driver: the latest progress, the warnings since the last call, how long no group has run, and what
        ends the training: a UserError where a worker refused to go on, a RuntimeError where one failed twice alike.
        """
        return ray.get(self._mailbox.collect.remote())

    def ask_to_stop(self) -> None:
        """From the driver."""
        ray.get(self._mailbox.ask_to_stop.remote())
