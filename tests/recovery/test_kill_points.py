"""Killed at twenty random moments, one after another, a training ends bit for bit where an undisturbed one ends.

Without Ray, so that a start costs a hundredth of a second: what is killed is the loop, the spool and the saver's thread
in the middle of whatever they do. `test_interruptions` does the same to whole commands.
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from commands import records
from examples import LEVELS, Batch, examples

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.tracking.spool import Spool
from ndm.training import checkpoint
from ndm.training.loop import Checkpointable, Logged, Loop
from ndm.training.saver import Saver
from ndm.training.state import State

SHAPE, EXAMPLES, BATCH = (1, 4, 4), 5120, 16
KILLS, RECORDS = 20, 32
EXPERIMENT = presets.load(
    "digits-tiny",
    [
        "network={width: 8, depth: 1}",
        "transform.network.width=8",
        "sampler.steps=2",
        f"training={{examples: {EXAMPLES}, batch_size: {BATCH}, ema: 0.9}}",
        "monitor={log_every: 160, checkpoint_every: 160, validate_every: 1600, validation_draws: 2}",
    ],
)


def batches(start: int) -> Iterator[Batch]:
    for position in range(start, EXAMPLES, BATCH):
        yield Batch(position, examples("train", position, BATCH, SHAPE), torch.arange(position, position + BATCH))


def train(folder: Path) -> None:
    """What rank 0 does, from wherever the folder is."""
    torch.set_num_threads(1)
    state: State = build_state(EXPERIMENT, build_objective(EXPERIMENT, SHAPE, LEVELS))
    if found := checkpoint.latest(folder / "checkpoints"):
        state.load(found.tensors, found.position)
    loop = Loop(
        training=EXPERIMENT.training,
        optimizer=EXPERIMENT.optimizer,
        monitor=EXPERIMENT.monitor,
        sampler=EXPERIMENT.sampler.build(None),
        samples=2,
        seed=0,
        validation=examples("validation", 0, 8, SHAPE),
        validation_first=0,
        slots=range(BATCH),
    )
    spool, saver = Spool(folder), Saver(folder / "checkpoints", 2, lambda position, reason: os._exit(3))
    for event in loop.run(state, batches(state.position)):
        if isinstance(event, Logged):
            spool.metrics(event.position, event.metrics)
        elif isinstance(event, Checkpointable):
            spool.sync()
            saver.save(event.position, state.tensors(), {})
    saver.close()
    spool.close()


def lines(folder: Path) -> int:
    file = folder / "spool.jsonl"
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def reached(folder: Path) -> int:
    return max((int(name) for name in checkpoint.candidates(folder / "checkpoints")), default=0)


def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    context, moments = multiprocessing.get_context("fork"), random.Random(0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    undisturbed = context.Process(target=train, args=(whole,))
    undisturbed.start()
    undisturbed.join()
    assert undisturbed.exitcode == 0
    seconds = time.monotonic() - began

    killed.mkdir()
    progress: list[int] = []
    for _ in range(KILLS):
        process = context.Process(target=train, args=(killed,))
        process.start()
        # Some records further, however fast the machine is at the time, and then at any moment.
        goal = lines(killed) + moments.randint(0, 1)
        while lines(killed) < goal and process.is_alive():
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, seconds / RECORDS))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"it ended before, at {reached(killed)}"
        progress.append(reached(killed))
    assert progress == sorted(progress)
    assert 0 < progress[-1] < EXAMPLES
    last = context.Process(target=train, args=(killed,))
    last.start()
    last.join()
    assert last.exitcode == 0

    for part in ("model", "ema", "optimizer"):
        file = f"checkpoints/{EXAMPLES:012d}/{part}.safetensors"
        assert (killed / file).read_bytes() == (whole / file).read_bytes()
    for key in ("train/bits_per_dim", "train/examples_checksum", "train/gradient_norm", "validation/bits_per_dim"):
        assert records(killed, key) == records(whole, key)
    assert [step for step, _ in records(killed, "train/bits_per_dim")] == list(range(160, EXAMPLES + 1, 160))
