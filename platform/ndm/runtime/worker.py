"""What every training worker runs: build, resume, loop; rank 0 also saves checkpoints and sends records."""

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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
from ndm.data.sources import Flipped
from ndm.errors import TrainingDiverged, UserError
from ndm.evaluation import figures, trained
from ndm.objectives import Objective
from ndm.runtime.channel import Channel
from ndm.training import checkpoint, numerics, speed
from ndm.training.checkpoint import VALIDATION, Home
from ndm.training.loop import Checkpointable, Diverged, Event, Logged, Loop, Sampled, Snapshot, Stopped
from ndm.training.saver import Saver
from ndm.training.state import State

MOST_IDS = 16


@dataclass(frozen=True)
class Task:
    """What the driver sends to the workers."""

    experiment: dict[str, Any]
    home: Home
    data: Folder
    run_id: str
    step_flops: int
    """Of one example."""
    channel: Channel
    until: int | None = None
    """Examples at which the workers end, short of the experiment's; None for all of them."""
    start: "Start | None" = None
    """What a training without a checkpoint of its own begins with; None for the beginning."""


class Start(NamedTuple):
    """A checkpoint of another run of the same networks on the same data."""

    home: Home
    name: str


class Seat(NamedTuple):
    """A worker's place in its group."""

    rank: int
    world: int
    device: torch.device


def work(config: dict[str, Task]) -> None:
    """Train until the experiment's end or a stop; what goes wrong is told to the driver."""
    task, context = config["task"], ray.train.get_context()
    try:
        train(task, Seat(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device()))
    except UserError as mistake:
        task.channel.refuse(mistake)
        raise
    except Exception:
        task.channel.fail(context.get_world_rank(), traceback.format_exc())
        raise


def train(task: Task, seat: Seat) -> None:
    """One worker's part, from the newest checkpoint on; a group of one needs no Ray Train around it.

    Raises:
        UserError: it cannot go on, and a restart would not help.
    """
    experiment = presets.resolve(task.experiment)
    _check_shared(task.home)
    manifest = Manifest.read(task.data)
    rank, world, device = seat
    if device.type == "cpu":
        torch.set_num_threads(1)
    numerics.set_process(experiment.training.precision)
    objective = build_objective(experiment, manifest.shape, manifest.levels).to(device)
    state = build_state(experiment, objective)
    seconds = resume(state, task, experiment, manifest)
    order = Order.of(manifest, "train", seed=experiment.seed, streams=experiment.data.streams)
    slots = order.share(experiment.training.batch_size, rank, world)
    loop = make_loop(task, experiment, manifest, objective, slots, rank, world)
    batches = ingest.batches(
        task.data,
        manifest,
        order,
        start=state.position,
        stop=task.until or experiment.training.examples,
        batch_size=experiment.training.batch_size,
        rank=rank,
        world=world,
    )
    events = loop.run(state, batches)
    try:
        if rank == 0:
            task.channel.begin(state.position, world)
            Reporter(task, experiment, manifest, state, seconds, world).follow(events)
        else:
            for _ in events:
                pass
    except Diverged as end:
        raise _given_up(end, task.home, experiment, order) from None


def _check_shared(home: Home) -> None:
    """The driver has made the folder of the checkpoints: a worker that does not see it is on another disk.

    Raises:
        UserError: it is not there.
    """
    if isinstance(home, Path) and not home.is_dir():
        raise UserError(
            f"The checkpoints are to be kept in {home}, which a worker on another node does not see; "
            "give a folder that all nodes share, or s3://bucket/prefix, as storage.checkpoints=..."
        )


def _given_up(end: Diverged, home: Home, experiment: Experiment, order: Order) -> TrainingDiverged:
    size = experiment.training.batch_size
    rows = order.batch(end.position, size).tolist()
    shown = ", ".join(map(str, rows[:MOST_IDS])) + (f" and {size - MOST_IDS} more" if size > MOST_IDS else "")
    last = next(iter(checkpoint.candidates(home)), None)
    kept = f"the checkpoint at {int(last)} examples is the last good one" if last else "no checkpoint was reached"
    return TrainingDiverged(
        f"The training diverged: a loss of {end.bits:g} bits/dim and a gradient of norm {end.norm:g} in the batch "
        f"after {end.position} examples (rows {shown} of the train split); {kept}. Lower optimizer.lr or "
        "optimizer.clip, or look at those rows."
    )


def resume(state: State, task: Task, experiment: Experiment, manifest: Manifest) -> float:
    """Take over the newest good checkpoint, or what there is to start with; returns the seconds spent on it.

    Raises:
        UserError: it is of another experiment or other data, or says so wrongly.
    """
    found = newest(task.home, experiment, manifest)
    if found is None and task.start is None:
        return 0.0
    if found is None:
        assert task.start is not None
        found = checkpoint.read(*task.start)
    try:
        state.load(found.tensors, found.position)
        return found.meta["seconds"]
    except (KeyError, RuntimeError):  # other names or shapes under this experiment's hash: no training of it wrote them
        raise UserError(
            f"The checkpoint {found.name} does not hold the weights of this experiment, as it says; move it away, and "
            "the one before it is taken."
        ) from None


def newest(home: Home, experiment: Experiment, manifest: Manifest) -> checkpoint.Checkpoint | None:
    """The newest good checkpoint of a run, if there is one.

    Raises:
        UserError: it is of another experiment or other data.
    """
    found = checkpoint.latest(home)
    if found is not None:
        trained.check(found, home, experiment, manifest)
    return found


def make_loop(
    task: Task, experiment: Experiment, manifest: Manifest, objective: Objective, slots: range, rank: int, world: int
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
        slots=slots,
        until=task.until,
        microbatch=experiment.scaling.microbatch,
        flip=isinstance(experiment.data, Flipped) and experiment.data.flip,
        device=next(objective.parameters()).device,
        rank=rank,
        world=world,
        should_stop=task.channel.stopping,
    )


class Reporter:
    """Rank 0's part: records go to the driver, checkpoints to where they are kept."""

    def __init__(
        self, task: Task, experiment: Experiment, manifest: Manifest, state: State, seconds: float, world: int
    ) -> None:
        self.task, self.experiment, self.manifest, self.state = task, experiment, manifest, state
        self.began = time.perf_counter() - seconds
        device = next(state.objective.parameters()).device
        self.peak = speed.peak_flops(device, world, experiment.training.precision)
        self.saver = Saver(task.home, experiment.monitor.keep, self.not_saved)
        self.snapshots = Saver(checkpoint.snapshots(task.home), None, self.not_saved)
        self.validation: tuple[int, float] | None = None

    def follow(self, events: Iterator[Event]) -> None:
        """Report the events as they come.

        Raises:
            UserError: the last checkpoint could not be saved.
        """
        first, began = self.state.position, time.perf_counter()
        shown: dict[str, Any] = {}
        try:
            for event in events:
                match event:
                    case Logged(position, metrics):
                        if (bits := metrics.get("validation/bits_per_dim")) is not None:
                            self.validation = position, bits
                        if (rate := metrics.get("train/examples_per_second")) is not None:
                            metrics |= speed.of(self.task.step_flops * rate, self.peak)
                        rate = (position - first) / (time.perf_counter() - began)
                        shown |= metrics | {"position": position, "rate": rate}
                        self.task.channel.record(position, metrics, shown)
                    case Sampled(position, raw):
                        self.task.channel.picture(position, raw.numpy())
                    case Snapshot(position):
                        self.snapshots.save(position, self.state.profiles.tensors(), self.identity())
                    case Checkpointable(position):
                        self.task.channel.sync()
                        self.save(position)
                    case Stopped():
                        pass
        finally:
            self.close()

    def identity(self) -> dict[str, str]:
        """What a checkpoint or a snapshot is of, as `trained.check` asks it."""
        return {"experiment": self.experiment.digest(), "data": self.manifest.hash}

    def save(self, position: int) -> None:
        """Hand the state to the saver, which says when it cannot be kept."""
        self.snapshots.settle()  # what was kept before a checkpoint is not made again after it
        at, bits = self.validation or (-1, None)
        meta = {
            **self.identity(),
            "tracking": self.task.run_id,
            "seconds": time.perf_counter() - self.began,
            VALIDATION: bits if at == position else None,
        }
        self.saver.save(position, self.state.tensors(), meta)

    def not_saved(self, position: int, reason: Exception) -> None:
        self.task.channel.warn(
            f"The checkpoint at {position} examples could not be saved ({_why(reason)}); the training goes on to the "
            "next."
        )

    def close(self) -> None:
        """Returns when the last checkpoint is safe; UserError if it cannot be made so."""
        try:
            try:
                self.snapshots.close()
            finally:
                self.saver.close()
        except (OSError, UserError) as reason:
            raise UserError(
                f"The last checkpoint could not be saved ({_why(reason)}): make room in {self.task.home}, or correct "
                "storage.checkpoints=..., then repeat the command; it goes on from the checkpoint before."
            ) from None


def _why(reason: Exception) -> str:
    return (getattr(reason, "strerror", None) or str(reason)).rstrip(".").lower()
