"""Runs the workers under Ray Train while the caller's thread shows progress and listens for Ctrl-C."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import ray.train
from ray.train import UserCallback
from ray.train.torch import TorchTrainer

from ndm.errors import UserError
from ndm.runtime.channel import Channel
from ndm.runtime.session import Workers
from ndm.runtime.worker import Task, work
from ndm.terminal import duration

POLL_SECONDS = 0.25
RESIZE_SECONDS = 10.0
"""How often the cluster is looked at for room for more workers."""


class Line(Protocol):
    """The driver's end of the channel."""

    def collect(self) -> tuple[dict[str, Any], list[str], float, Exception | None]: ...

    def ask_to_stop(self) -> None: ...


class Fallen(UserCallback):
    """In Ray's controller of the workers: tells when their group is gone."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        del run_context, worker_exceptions
        self._channel.fell()


def fit(
    task: Task,
    name: str,
    *,
    workers: Workers,
    gpu: bool,
    max_failures: int,
    patience: float,
    ray_folder: Path,
    show: Callable[[dict[str, Any]], None],
    warn: Callable[[str], None],
) -> bool:
    """Train on `workers` workers, or on as many from least to most as there is room for; returns whether to the end.

    A dead worker restarts the group from the last checkpoint, `max_failures` times; without room for it for `patience`
    seconds the training ends. The first KeyboardInterrupt asks the workers to save and stop; a second one is raised,
    and so is one before there is anything to save.

    Raises:
        UserError: what a worker raised as one, and nothing is restarted; or there was no room.
        RuntimeError: a worker failed twice in the same way.
        ray.train.TrainingFailedError: workers died too often.
    """
    trainer = TorchTrainer(
        work,
        train_loop_config={"task": task},
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=gpu, elastic_resize_monitor_interval_s=RESIZE_SECONDS
        ),
        run_config=ray.train.RunConfig(
            name=f"{name}-{time.time_ns()}",  # never reused: our own checkpoints decide what is resumed
            storage_path=str(ray_folder),
            failure_config=ray.train.FailureConfig(max_failures=max_failures),
            callbacks=[Fallen(task.channel)],
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
    try:
        stopped = watch(done, task.channel, patience, show, warn)
    finally:
        task.channel.finish()  # what the workers sent stands before what the caller records now
    if (error := outcome.get("error")) is not None:
        raise error
    return not stopped


def watch(
    done: threading.Event,
    channel: Line,
    patience: float,
    show: Callable[[dict[str, Any]], None],
    warn: Callable[[str], None],
) -> bool:
    """Show what the workers say until they end; returns whether they were asked to stop."""
    asked, progress = False, {}
    while True:
        try:
            ended = done.is_set()
            progress, warnings, waited, end = channel.collect()
            for message in warnings:  # also those that came together with the end
                warn(message)
            if end is not None:
                raise end
            if progress:
                show(progress)
            if ended:
                return asked
            if waited > patience:
                raise UserError(
                    f"The cluster has had no room for the workers for {duration(waited)} (scaling.patience): ask for "
                    "fewer as scaling.workers=..., or wait for its nodes, then repeat the command; it goes on where it "
                    "was."
                )
            done.wait(POLL_SECONDS)  # Thread.join, interrupted, takes the thread for ended (CPython 3.11)
        except KeyboardInterrupt:
            if asked or not progress:
                raise
            asked = True
            warn("Stopping: the workers save a checkpoint first; Ctrl-C again gives up what they did since the last.")
            channel.ask_to_stop()
