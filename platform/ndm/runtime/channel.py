"""The line between a running group of workers and the process that started it: progress one way, a stop the other."""

import logging
from typing import Any

import ray


@ray.remote(num_cpus=0)
class _Mailbox:
    """The latest progress, the warnings not yet shown, and whether a stop was asked for."""

    def __init__(self) -> None:
        self.progress: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.stop = False

    def publish(self, progress: dict[str, Any]) -> None:
        self.progress = progress

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def collect(self) -> tuple[dict[str, Any], list[str]]:
        warnings, self.warnings = self.warnings, []
        return self.progress, warnings

    def ask_to_stop(self) -> None:
        self.stop = True

    def stopping(self) -> bool:
        return self.stop


class Channel:
    """Both ends of the line; it travels to the workers by value."""

    def __init__(self) -> None:
        self._mailbox: Any = _Mailbox.remote()  # pyright: ignore[reportAttributeAccessIssue]

    def publish(self, progress: dict[str, Any]) -> None:
        """From a worker, without waiting."""
        self._mailbox.publish.remote(progress)

    def warn(self, message: str) -> None:
        """From a worker, without waiting."""
        self._mailbox.warn.remote(message)

    def stopping(self) -> bool:
        """From a worker: has a stop been asked for?"""
        return ray.get(self._mailbox.stopping.remote())

    def collect(self) -> tuple[dict[str, Any], list[str]]:
        """From the driver: the latest progress, and the warnings since the last call."""
        return ray.get(self._mailbox.collect.remote())

    def ask_to_stop(self) -> None:
        """From the driver."""
        ray.get(self._mailbox.ask_to_stop.remote())


class WarningsToChannel(logging.Handler):
    """Sends a worker's warnings to the person at the driver."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.WARNING)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        self._channel.warn(record.getMessage())
