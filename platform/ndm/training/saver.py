"""Checkpoints written beside the training: the loop waits for a copy in memory, not for a disk or a network."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ndm.training import checkpoint
from ndm.training.checkpoint import Home
from ndm.training.state import Tensors


class Saver:
    """Saves one checkpoint at a time, in a thread of its own.

    What cannot be saved on the way is told to `failed` (position, reason), and the training goes on with the last good
    checkpoint behind it; what cannot be saved at the end is raised by `close`.
    """

    def __init__(self, home: Home, keep: int | None, failed: Callable[[int, Exception], None]) -> None:
        self._home, self._keep, self._failed = home, keep, failed
        self._good: checkpoint.Good = {}
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._saving: tuple[int, Future[str]] | None = None

    def save(self, position: int, tensors: Tensors, meta: Mapping[str, Any]) -> None:
        """Copy the tensors and return; waits for the checkpoint before, if it is still being written."""
        self.settle()
        kept = {
            part: {name: tensor.detach().to("cpu", copy=True) for name, tensor in named.items()}
            for part, named in tensors.items()
        }
        write = self._thread.submit(checkpoint.write, self._home, position, kept, dict(meta), self._keep, self._good)
        self._saving = position, write

    def settle(self) -> None:
        """Returns when nothing is being written."""
        try:
            self._wait()
        except Exception as reason:
            assert self._saving is not None
            self._failed(self._saving[0], reason)
            self._saving = None

    def close(self) -> None:
        """Returns when the last checkpoint is where it cannot be lost.

        Raises:
            OSError, UserError: it could not be saved.
        """
        try:
            self._wait()
        finally:
            self._thread.shutdown()

    def _wait(self) -> None:
        if self._saving is not None:
            self._saving[1].result()
