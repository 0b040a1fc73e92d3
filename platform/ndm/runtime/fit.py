"""Runs the workers under Ray Train while the caller's thread shows progress and listens for Ctrl-C."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer

from ndm.runtime.channel import Channel
from ndm.runtime.worker import Task, work

POLL_SECONDS = 0.25


def fit(
    task: Task,
    *,
    workers: int,
    gpu: bool,
    max_failures: int,
    ray_folder: Path,
    show: Callable[[dict[str, Any]], None],
    warn: Callable[[str], None],
) -> bool:
    """Train on `workers` workers; returns whether to the end, not to a stop that was asked for.

    A dead worker restarts the group from the last checkpoint, `max_failures` times. The first KeyboardInterrupt asks
    the workers to save and stop; a second one is raised, and so is one before there is anything to save.

    Raises:
        UserError: what a worker raised as one; nothing is restarted.
        RuntimeError: a worker failed twice in the same way.
        ray.train.TrainingFailedError: workers died too often.
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
    outcome: dict[str, BaseException] = {}
    done = threading.Event()

    def run() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            outcome["error"] = error
        finally:
            done.set()

    # Not in the main thread: Ray's own handler would abort the workers at the first Ctrl-C, before they could save.
    threading.Thread(target=run, daemon=True).start()
    stopped = _watch(done, task.channel, show, warn)
    if (error := outcome.get("error")) is not None:
        raise error
    return not stopped


def _watch(
    done: threading.Event, channel: Channel, show: Callable[[dict[str, Any]], None], warn: Callable[[str], None]
) -> bool:
    """Show what the workers say until they end; returns whether they were asked to stop."""
    asked, progress = False, {}
    while True:
        try:
            ended = done.is_set()
            progress, warnings = channel.collect()
            for message in warnings:
                warn(message)
            if progress:
                show(progress)
            if ended:
                return asked
            done.wait(POLL_SECONDS)  # Thread.join, interrupted, takes the thread for ended (CPython 3.11)
        except KeyboardInterrupt:
            if asked or not progress:
                raise
            asked = True
            warn("Stopping: the workers save a checkpoint first; Ctrl-C again gives up what they did since the last.")
            channel.ask_to_stop()
