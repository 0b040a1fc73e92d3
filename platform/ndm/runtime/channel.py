"""The line between a running group of workers and the process that started it: progress one way, a stop the other."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ndm.errors import UserError


class Mailbox:
    """The latest progress, the warnings not yet shown, what ends the training, and whether a stop was asked for."""

    def __init__(self) -> None:
        self.groups = self.start = 0
        self.progress: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.failures: set[tuple[int, int, str]] = set()
        self.end: Exception | None = None
        self.stop = False

    def begin(self, position: int) -> None:
        self.groups, self.start = self.groups + 1, position
        if self.groups > 1:
            where = f"goes on from the checkpoint at {position} examples" if position else "begins again"
            self.warnings.append(f"A worker died; the training {where}.")

    def publish(self, progress: dict[str, Any]) -> None:
        self.progress = progress

    def refuse(self, mistake: str) -> None:
        self.end = UserError(mistake)

    def fail(self, rank: int, failure: str) -> None:
        """A training is a function of its position: what fails again without a step forward would fail every time."""
        what = rank, self.start, failure
        if what in self.failures and self.end is None:
            self.end = RuntimeError(f"A worker failed twice in the same way.\n{failure}")
        self.failures.add(what)

    def collect(self) -> tuple[dict[str, Any], list[str], Exception | None]:
        warnings, self.warnings = self.warnings, []
        return self.progress, warnings, self.end

    def ask_to_stop(self) -> None:
        self.stop = True

    def stopping(self) -> bool:
        return self.stop


class Channel:
    """Both ends of the line; it travels to the workers by value."""

    def __init__(self) -> None:
        # Beside the driver: what asks for no CPU may be put anywhere, also on a host that the training outlives.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        mailbox: Any = ray.remote(num_cpus=0)(Mailbox)
        self._mailbox: Any = mailbox.options(scheduling_strategy=here).remote()

    def begin(self, position: int) -> None:
        """From rank 0, without waiting: a group of workers starts here."""
        self._mailbox.begin.remote(position)

    def publish(self, progress: dict[str, Any]) -> None:
        """From rank 0, without waiting."""
        self._mailbox.publish.remote(progress)

    def refuse(self, mistake: UserError) -> None:
        """From a worker: this ends the training, a restart would not help."""
        ray.get(self._mailbox.refuse.remote(str(mistake)))

    def fail(self, rank: int, failure: str) -> None:
        """From a worker: the traceback of what it did not expect. It is given one more chance."""
        ray.get(self._mailbox.fail.remote(rank, failure))

    def stopping(self) -> bool:
        """From a worker: has a stop been asked for?"""
        return ray.get(self._mailbox.stopping.remote())

    def collect(self) -> tuple[dict[str, Any], list[str]]:
        """From the driver: the latest progress, and the warnings since the last call.

        Raises:
            UserError: a worker refused to go on.
            RuntimeError: a worker failed twice in the same way.
        """
        progress, warnings, end = ray.get(self._mailbox.collect.remote())
        if end is not None:
            raise end
        return progress, warnings

    def ask_to_stop(self) -> None:
        """From the driver."""
        ray.get(self._mailbox.ask_to_stop.remote())
