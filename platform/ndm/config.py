"""The typed experiment: what a YAML preset and `key=value` overrides resolve to.

One namespace of dotted keys (`transform.network.width`) serves presets, the command line, MLflow params and analysis.
The model is frozen and strict; configs never name importable objects, only the `kind` of a registered variant.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ndm import heads, networks, objectives, processes, sampling, schedules, transforms
from ndm.data import sources
from ndm.registry import Config
from ndm.tracking.runs import TrackingConfig
from ndm.training.loop import MonitorConfig, TrainingConfig
from ndm.training.optimizer import OptimizerConfig

RESERVED = frozenset({"artifacts", "data", "mlflow.db"})
"""What else lies in the folder of runs."""


def _fit_for_a_folder(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError("up to 100 letters, digits, dots, dashes and underscores, the first a letter or digit")
    if name in RESERVED:
        raise ValueError(f"another name than {', '.join(sorted(RESERVED))}")
    return name


Name = Annotated[str, AfterValidator(_fit_for_a_folder)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Evaluation(Config):
    """The final score."""

    split: Literal["train", "validation", "test"] = "test"
    draws: int = Field(default=64, gt=0)
    """Draws per image of the bound, stratified in time; in discrete time rounded up to a multiple of T."""
    block: int = Field(default=256, gt=0)
    """Images scored by one task."""
    batch: int = Field(default=256, gt=0)
    """Images in one evaluation of the bound."""
    seed: Seed = 1


class Scaling(Config):
    """Where it runs; without influence on what is computed beyond the order of floating-point sums."""

    workers: Annotated[int, Field(gt=0)] | Literal["auto"] = "auto"
    """Data-parallel workers; auto is one per GPU, or two CPU workers where there is no GPU."""
    max_failures: int = Field(default=3, ge=0)
    """Restarts from the last checkpoint after a worker died."""


class Run(Config):
    """The run itself."""

    name: Name | None = None
    """Name of the run; by default the experiment's name and a hash of everything that decides its result."""


class Storage(Config):
    """Where runs are kept."""

    root: str = "runs"
    """Folder of data sets, runs and the embedded tracking store."""


class Experiment(Config):
    """Everything that decides a run. Fields of `WHERE` say where it runs and how it is watched and scored."""

    name: Name
    seed: Seed = 0
    data: sources.AnyConfig
    schedule: schedules.AnyConfig
    transform: transforms.AnyConfig
    network: networks.AnyConfig
    head: heads.AnyConfig
    process: processes.AnyConfig
    objective: objectives.AnyConfig
    sampler: sampling.AnyConfig
    training: TrainingConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    monitor: MonitorConfig = MonitorConfig()
    evaluation: Evaluation = Evaluation()
    scaling: Scaling = Scaling()
    run: Run = Run()
    storage: Storage = Storage()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        batch, streams, workers = self.training.batch_size, self.data.streams, self.scaling.workers
        if batch % streams:
            raise ValueError(
                f"training.batch_size={batch} must be a multiple of data.streams={streams}, "
                f"for example {max(batch // streams, 1) * streams}"
            )
        if workers != "auto" and streams % workers:
            allowed = ", ".join(str(w) for w in range(1, streams + 1) if streams % w == 0)
            raise ValueError(f"scaling.workers={workers} must divide data.streams={streams}: {allowed}")
        if self.objective.kind == "discrete" and self.process.eta > 1:
            raise ValueError(
                f"process.eta={self.process.eta} needs objective.kind=continuous: in discrete time the posterior "
                "variance eta v may not exceed sigma_s^2, so eta is at most 1"
            )
        return self

    def canonical_json(self) -> str:
        """The resolved experiment as JSON with sorted keys and no spaces: equal experiments, equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """SHA-256 over the canonical JSON of what decides the result: all but `WHERE`, and the name."""
        deciding = {key: value for key, value in self.flat(deciding=True).items() if key != "name"}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def run_name(self) -> str:
        """The run's name, which is also that of its folder."""
        return self.run.name or f"{self.name}-{self.digest()[:8]}"

    def flat(self, *, deciding: bool | None = None) -> dict[str, Any]:
        """Dotted keys to leaf values: all, those that decide the result, or (False) only the others."""
        leaves = flatten(self.model_dump(mode="json"))
        return {k: v for k, v in leaves.items() if deciding is None or (k.partition(".")[0] not in WHERE) is deciding}


WHERE = frozenset({"run", "scaling", "storage", "tracking", "monitor", "evaluation", "sampler"})


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as dotted keys; lists are leaves."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
