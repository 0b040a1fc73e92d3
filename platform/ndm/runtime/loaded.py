"""A run's trained model as the tasks of Ray see it: where it is, loaded once per process, and what a task may use."""

import json
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from ndm import presets
from ndm.config import Experiment
from ndm.data.folders import Folder
from ndm.data.manifest import Manifest
from ndm.evaluation import trained
from ndm.objectives import Objective
from ndm.runtime.session import gpus
from ndm.runtime.workspace import Workspace
from ndm.training import numerics
from ndm.training.checkpoint import Home


class Where(NamedTuple):
    """What a task needs to load the model and the data; plain, so that it can be sent and compared."""

    home: Home
    checkpoint: str | None
    experiment: str
    data: Folder

    @classmethod
    def of(cls, workspace: Workspace) -> "Where":
        experiment = workspace.experiment.canonical_json()
        return cls(workspace.home, workspace.checkpoint, experiment, workspace.data)


class Loaded(NamedTuple):
    objective: Objective
    """On `device()`."""
    position: int
    """Examples that it has seen."""
    experiment: Experiment
    manifest: Manifest


def device() -> str:
    """Where a task computes."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@lru_cache(maxsize=1)
def load(where: Where) -> Loaded:
    """The model; Ray keeps a task's process, so its next block finds it loaded. A task has one thread, as one CPU.

    From here on the process is without TF32, which torch allows for convolutions: no score or sample is made with it.
    """
    torch.set_num_threads(1)
    numerics.set_process("fp32")
    manifest = Manifest.read(where.data)
    experiment = presets.resolve(json.loads(where.experiment))
    objective, position, _ = trained.load(where.home, experiment, manifest, where.checkpoint)
    return Loaded(objective.to(device()), position, experiment, manifest)


def on_device(task: Any) -> Any:
    """The remote function with a GPU to itself, where there are any."""
    return task.options(num_gpus=1) if gpus() else task
