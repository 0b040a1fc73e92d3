"""Runs the workers under Ray Train while the caller's thread shows progress and listens for Ctrl-C."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer

from ndm.errors import UserError
from ndm.runtime.channel import Channel
from ndm.runtime.worker import Task, work

POLL_SECONDS = 0.25


def fit(
    task: Task, *, workers: int, gpu: bool, max_failures: int, ray_folder: Path, show: Callable[[dict[str, Any]], None], warn: Callable[[str], None]
) -> str:
    """Train on `workers` workers; returns "finished" or "stopped".

    A dead worker restarts the group from the last checkpoint, `max_failures` times. The first KeyboardInterrupt asks
    the workers to save and stop; a second one is raised.

    Raises:
        UserError: what a worker raised as one.
        ray.train.TrainingFailedError: any other failure.
    """
    trainer = TorchTrainer(
        work,
        train_loop_config={"task": task},
        scaling_config=ray.train.ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=ray.train.RunConfig(
            name=f"{task.run.name}-{time.time_ns()}",  # never reused: our own checkpoints decide what is resumed
            storage_path=str(ray_folder),
            failure_config=ray.train.FailureConfig(max_failures=max_failures),
        ),
    )
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = trainer.fit()
        except BaseException as error:
            outcome["error"] = error

    # Not in the main thread: Ray's own handler would abort the workers at the first Ctrl-C, before they could save.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    _watch(thread, task.channel, show, warn)
    error = outcome.get("error")
    if error is not None:
        raise _users(error) or error
    return str(outcome["result"].return_value)


def _watch(
    thread: threading.Thread, channel: Channel, show: Callable[[dict[str, Any]], None], warn: Callable[[str], None]
) -> None:
    asked = False
    while True:
        try:
            alive = thread.is_alive()
            progress, warnings = channel.collect()
            for message in warnings:
                warn(message)
            if progress:
                show(progress)
            if not alive:
                return
            thread.join(POLL_SECONDS)
        except KeyboardInterrupt:
            if asked:
                raise
            asked = True
            warn("Stopping: the workers save a checkpoint first. Ctrl-C again gives up what they did since the last one.")
            channel.ask_to_stop()


def _users(error: BaseException) -> UserError | None:
    """The user's mistake inside Ray's wrappings, if that is what it was."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop()
        if current is None or id(current) in seen:
            continue
        if isinstance(current, UserError):
            return current
        seen.add(id(current))
        queue += [current.__cause__, current.__context__, getattr(current, "cause", None)]
        queue += list(getattr(current, "worker_failures", {}).values())
    return None
