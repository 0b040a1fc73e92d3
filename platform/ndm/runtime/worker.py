"""What every training worker runs: build, resume, loop; rank 0 also writes checkpoints, metrics and pictures."""

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.config import Experiment
from ndm.data import ingest
from ndm.data.folders import Folder
from ndm.data.manifest import Manifest
from ndm.data.order import Order
from ndm.data.shards import read_rows
from ndm.errors import UserError
from ndm.evaluation import figures, trained
from ndm.objectives import Objective
from ndm.runs import RunFolder
from ndm.runtime.channel import Channel
from ndm.tracking.spool import Spool
from ndm.training import checkpoint, numerics
from ndm.training.loop import Checkpointable, Event, Logged, Loop, Sampled, Stopped
from ndm.training.state import State


@dataclass(frozen=True)
class Task:
    """What the driver sends to the workers."""

    experiment: dict[str, Any]
    run: Path
    data: Folder
    run_id: str
    channel: Channel


def work(config: dict[str, Task]) -> None:
    """Train until the experiment's end or a stop; what goes wrong is told to the driver."""
    task = config["task"]
    try:
        _train(task)
    except UserError as mistake:
        task.channel.refuse(mistake)
        raise
    except Exception:
        task.channel.fail(ray.train.get_context().get_world_rank(), traceback.format_exc())
        raise


def _train(task: Task) -> None:
    experiment = presets.resolve(task.experiment)
    folder, manifest = RunFolder(task.run), Manifest.read(task.data)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(1)
    numerics.set_process(experiment.training.precision)
    objective = build_objective(experiment, manifest.shape, manifest.levels).to(device)
    state = build_state(experiment, objective)
    seconds = resume(state, folder, experiment, manifest)
    loop = make_loop(task, experiment, manifest, objective, rank, world)
    order = Order.of(manifest, "train", seed=experiment.seed, streams=experiment.data.streams)
    batches = ingest.batches(
        task.data,
        manifest,
        order,
        start=state.position,
        stop=experiment.training.examples,
        batch_size=experiment.training.batch_size,
        rank=rank,
        world=world,
    )
    if rank == 0:
        task.channel.begin(state.position)
        Recorder(task, experiment, manifest, state, seconds).follow(loop.run(state, batches))
    else:
        for _ in loop.run(state, batches):
            pass


def resume(state: State, folder: RunFolder, experiment: Experiment, manifest: Manifest) -> float:
    """Take over the newest good checkpoint, if there is one; returns the seconds that were spent on it."""
    found = newest(folder, experiment, manifest)
    if found is None:
        return 0.0
    state.load(found.tensors, found.position)
    return found.meta["seconds"]


def newest(folder: RunFolder, experiment: Experiment, manifest: Manifest) -> checkpoint.Checkpoint | None:
    """The newest good checkpoint of a run, if there is one.

    Raises:
        UserError: it is of another experiment or other data.
    """
    found = checkpoint.latest(folder.checkpoints)
    if found is not None:
        trained.check(found, folder, experiment, manifest)
    return found


def make_loop(
    task: Task, experiment: Experiment, manifest: Manifest, objective: Objective, rank: int, world: int
) -> Loop:
    """The loop, with this worker's part of the validation images."""
    images = min(manifest.rows("validation"), experiment.monitor.validation_images)
    first, last = images * rank // world, images * (rank + 1) // world
    return Loop(
        training=experiment.training,
        optimizer=experiment.optimizer,
        monitor=experiment.monitor,
        sampler=experiment.sampler.build(objective.steps),
        samples=figures.shown(manifest.shape, experiment.samples.count),
        seed=experiment.seed,
        validation=torch.from_numpy(read_rows(task.data, manifest, "validation", first, last).raw.copy()),
        validation_first=first,
        device=next(objective.parameters()).device,
        rank=rank,
        world=world,
        should_stop=task.channel.stopping,
    )


class Recorder:
    """Rank 0's part: everything that is written or shown while training."""

    def __init__(self, task: Task, experiment: Experiment, manifest: Manifest, state: State, seconds: float) -> None:
        self.task, self.experiment, self.manifest, self.state = task, experiment, manifest, state
        self.began = time.perf_counter() - seconds
        self.folder = RunFolder(task.run)
        self.spool = Spool(task.run)

    def follow(self, events: Iterator[Event]) -> None:
        """Record the events as they come."""
        first, began = self.state.position, time.perf_counter()
        shown: dict[str, Any] = {}
        try:
            for event in events:
                match event:
                    case Logged(position, metrics):
                        self.spool.metrics(position, metrics)
                        rate = (position - first) / (time.perf_counter() - began)
                        shown |= metrics | {"position": position, "rate": rate}
                        self.task.channel.publish(shown)
                    case Sampled(position, raw):
                        path = self.folder.samples / f"{position:012d}.png"
                        figures.samples(raw, self.manifest.levels, path)
                        self.spool.image("samples/ema", position, path)
                    case Checkpointable(position):
                        self.spool.sync()
                        self.save(position)
                    case Stopped():
                        pass
        finally:
            self.spool.close()

    def save(self, position: int) -> None:
        meta = {
            "experiment": self.experiment.digest(),
            "data": self.manifest.hash,
            "tracking": self.task.run_id,
            "seconds": time.perf_counter() - self.began,
        }
        checkpoint.write(self.folder.checkpoints, position, self.state.tensors(), meta, self.experiment.monitor.keep)
