"""Spreads independent pieces of work over Ray tasks."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from ndm.errors import UserError
from ndm.runtime.session import session

AHEAD = 2
"""Tasks for each CPU that are handed out; more would only fill the object store."""


def spread(root: Path) -> Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]:
    """`each` of `ndm.data.prepare`: tasks of a Ray of its own, or of the one that this process has.

    Results come as they are ready. A user's mistake that a task finds is raised here as it was, and no more are begun.
    """

    return lambda function, items: _tasks(root, function, items)


def _tasks(root: Path, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    with session(root, os.cpu_count() or 1):
        task: Any = ray.remote(num_cpus=1)(function)
        try:
            yield from results(task.remote, items)
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise


def results(submit: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """What a Ray task gives for each item, as they are ready; `submit` starts the task of one. Needs a running Ray.

    Whoever stops asking leaves a few tasks that are under way, and they run to their ends: to cancel one just as it
    ends can abort this process (Ray 2.60, "Tried to complete task that was not pending").
    """
    most = AHEAD * int(ray.cluster_resources()["CPU"])
    waiting, pending = list(items)[::-1], list[Any]()
    while waiting or pending:
        while waiting and len(pending) < most:
            pending.append(submit(waiting.pop()))
        ready, pending = ray.wait(pending)
        yield from ray.get(ready)
