"""Spreads independent pieces of work over Ray tasks, where there are enough of them to wait for Ray."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from ndm.errors import UserError
from ndm.runtime.session import session

FEW = 8
"""Pieces that are done here: starting Ray and its workers takes seconds."""
AHEAD = 2
"""Tasks for each CPU that are handed out; more would only fill the object store."""


def spread(root: Path) -> Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]:
    """`each` of `ndm.data.prepare`: tasks of a Ray of its own, or of the one that this process has.

    Results come as they are ready. A user's mistake that a task finds is raised here as it was, and the rest cancelled.
    """

    def each(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
        return map(function, items) if len(items) < FEW else _tasks(root, function, items)

    return each


def _tasks(root: Path, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    with session(root, os.cpu_count() or 1):
        task: Any = ray.remote(num_cpus=1)(function)
        most = AHEAD * int(ray.cluster_resources()["CPU"])
        waiting, pending = list(items)[::-1], list[Any]()
        try:
            while waiting or pending:
                while waiting and len(pending) < most:
                    pending.append(task.remote(waiting.pop()))
                ready, pending = ray.wait(pending)
                yield from ray.get(ready)
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        finally:
            for reference in pending:
                ray.cancel(reference)
