"""One unit of work of a search, on whatever node it runs: train a trial to its next rung and score it there.

One worker trains in this process, in the loop of every training; several are a group under Ray Train, as in `ndm
train`. Either way the training rests at the rung when this ends, so nothing of it has to be stopped.
"""

import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import ray
import torch
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ndm import presets
from ndm.config import Experiment
from ndm.data.manifest import Manifest
from ndm.errors import TrainingDiverged, UserError
from ndm.likelihood.estimators import estimator
from ndm.runtime.fit import fit
from ndm.runtime.loaded import Where, device, load, on_device
from ndm.runtime.score import score_block
from ndm.runtime.session import gpus
from ndm.runtime.worker import Seat, Task, train
from ndm.search.config import Score
from ndm.search.plan import Trial


class Job(NamedTuple):
    """A unit, with all that it needs beside the desk."""

    trial: Trial
    rung: int
    flops: int
    """That the trial has spent at the rung."""
    score: Score
    root: Path
    """The folder of runs, on the driver's node."""


def run(job: Job, desk: Any) -> str | None:
    """Train to the rung, score, and tell the desk; returns why the trial cannot go on, if so.

    What is no user's mistake is raised: the unit is then done again, from its last checkpoint.
    """
    began = time.time()
    try:
        task: Task = ray.get(desk.open.remote(job.trial, job.rung))
        assert task.until is not None
        experiment, manifest = presets.resolve(task.experiment), Manifest.read(task.data)
        workers = experiment.scaling.workers
        assert isinstance(workers, int)
        if workers == 1:
            train(task, Seat(0, 1, torch.device(device())))
        else:
            _fit(task, experiment, job)
        table = _score(task, experiment, manifest, job.score, alone=workers == 1)
        made = {
            "estimator": job.score.estimator,
            "images": len(table),
            "seed": job.score.seed,
            "split": "validation",
            "dimensions": manifest.dimensions,
            "data": {"name": manifest.name, "version": manifest.version, "hash": manifest.hash},
            "experiment": experiment.digest(),
            "examples": task.until,
            "flops": job.flops,
            "began": began,
            "seconds": (time.time() - began) * workers,
        }
        ray.get(desk.reach.remote(job.trial, job.rung, table, made))
    except UserError as mistake:
        cause = getattr(mistake, "cause", mistake)  # from an actor or task it comes with its traceback
        ray.get(desk.fail.remote(job.trial, str(cause), final=isinstance(cause, TrainingDiverged)))
        return str(cause)
    except Exception:
        ray.get(desk.trace.remote(job.trial, traceback.format_exc()))
        raise
    finally:
        ray.get(desk.close.remote(job.trial.number))
    return None


def _fit(task: Task, experiment: Experiment, job: Job) -> None:
    """Several workers, under Ray Train."""
    assert isinstance(experiment.scaling.workers, int)
    fit(
        task,
        experiment.run_name(),
        workers=experiment.scaling.workers,
        gpu=gpus() > 0,
        max_failures=experiment.scaling.max_failures,
        patience=experiment.scaling.endurance,
        ray_folder=job.root / ".ray" / "train",
        show=lambda _: None,
        warn=lambda _: None,
    )


def _score(task: Task, experiment: Experiment, manifest: Manifest, score: Score, *, alone: bool) -> pa.Table:
    """The bound of the first validation images at the newest checkpoint, with the same noise for every trial."""
    where = Where(task.home, f"{task.until:012d}", experiment.canonical_json(), task.data)
    images = min(score.images, manifest.rows("validation"))
    asked = (where, score, images, experiment.evaluation.batch)
    if alone:
        return _score_here(*asked)
    nowhere: Any = None  # Tune has kept nothing for the tasks of this process
    elsewhere = PlacementGroupSchedulingStrategy(placement_group=nowhere)
    remote: Any = ray.remote(num_cpus=1, scheduling_strategy=elsewhere)(_score_here)
    return ray.get(on_device(remote).remote(*asked))


def _score_here(where: Where, score: Score, images: int, batch: int) -> pa.Table:
    asked = estimator(score.estimator, load(where).objective, draws=score.draws, tolerance=1.0)
    return score_block(where, asked, "validation", 0, images, score.seed, batch)[0]
