"""The typed experiment: what a YAML preset and `key=value` overrides resolve to.

One namespace of dotted keys (`transform.network.width`) serves presets, the command line, MLflow params and analysis.
The model is frozen and strict; configs never name importable objects, only the `kind` of a registered variant.
"""

import hashlib
import json
import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ndm import environment, heads, networks, objectives, processes, sampling, schedules, transforms, volatilities
from ndm.data import sources
from ndm.data.places import DataPath, inside
from ndm.heads import DriftHead
from ndm.likelihood.estimators import valid_name
from ndm.quality import FEWEST
from ndm.registry import Config
from ndm.sampling import ReverseConfig
from ndm.tracking.runs import TrackingConfig
from ndm.training.loop import MonitorConfig, TrainingConfig
from ndm.training.optimizer import OptimizerConfig
from ndm.training.profiles import NARROWEST, WIDEST

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
    estimators: Annotated[tuple[Annotated[str, AfterValidator(valid_name)], ...], Field(min_length=1)] = ("elbo",)
    """By name, see `ndm.likelihood.estimators`."""
    draws: int = Field(default=64, gt=0)
    """Draws per image of `elbo`, stratified in time; in discrete time rounded up to a multiple of T."""
    tolerance: float = Field(default=1e-5, gt=0)
    """Of the solver of the ODE."""
    block: int = Field(default=64, gt=0)
    """Images scored by one task."""
    batch: int = Field(default=256, gt=0)
    """Images in one evaluation of the bound."""
    ema: float | None = Field(default=None, ge=NARROWEST, le=WIDEST)
    """Relative width of the average of the weights that is scored and sampled; null for that of `training.ema`."""
    seed: Seed = 1


class Samples(Config):
    """What is drawn of the trained model, and how it is compared with the data."""

    count: int = Field(default=64, gt=0)
    """Samples; the pictures on the way and at the end show the first of them."""
    quality: bool = True
    """Measure sliced Wasserstein distance and squared MMD in pixels, where there are 30 samples and more."""
    extractor: Literal["pixels", "random", "inception"] | None = None
    """Features in which FID, KID, precision and recall are measured too; random is comparable only with itself."""
    weights: str | None = None
    """The file of weights that inception reads."""
    reference: Literal["train", "validation", "test"] = "train"
    """Split that the samples are compared with."""
    reference_images: int | None = Field(default=5000, ge=FEWEST)
    """At most this many images of it, chosen at random; null for all, as a published FID has it."""

    @model_validator(mode="after")
    def _measurable(self) -> Self:
        if self.quality and self.extractor and self.count < FEWEST:
            raise ValueError(
                f"extractor={self.extractor} compares at least {FEWEST} samples; take more than count={self.count}"
            )
        return self


Workers = Annotated[int, Field(gt=0)]


class Scaling(Config):
    """Where it runs; without influence on what is computed beyond the order of floating-point sums."""

    workers: Workers | tuple[Workers, Workers] | Literal["auto"] = "auto"
    """Data-parallel workers; auto is one per GPU, or two CPU workers where there is no GPU. [least, most]: as many as
    the cluster has room for, changing while it trains."""
    microbatch: int | None = Field(default=None, gt=0)
    """At most this many examples go through the model together, however many a worker has; null for all of them."""
    patience: float = Field(default=600.0, gt=0)
    """Seconds that the training waits for room in the cluster, at its start and after a node was lost."""
    queue: bool = False
    """Wait for room for as long as it takes, also where the cluster has too few nodes at the moment."""
    max_failures: int = Field(default=3, ge=0)
    """Restarts from the last checkpoint after a worker died."""

    @property
    def endurance(self) -> float:
        """Seconds that the training waits for room."""
        return math.inf if self.queue else self.patience

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if isinstance(self.workers, tuple) and self.workers[0] > self.workers[1]:
            raise ValueError(f"workers={list(self.workers)} must be [least, most]")
        return self


class Run(Config):
    """The run itself."""

    name: Name | None = None
    """Name of the run; by default the experiment's name and a hash of everything that decides its result."""


class Storage(Config):
    """Where runs are kept. A cluster says by NDM_ROOT and NDM_STORE in the environment of its nodes what is usual."""

    root: str = Field(default_factory=environment.root)
    """Folder of runs, on the node of the command, and of the embedded tracking store."""
    store: DataPath | None = Field(default_factory=environment.store, validate_default=True)
    """Where what outlives the node is kept: data sets, checkpoints, and runs for `ndm pull`; s3://bucket/prefix, or a
    folder that all nodes share. By default all of it is in the root."""
    data: DataPath | None = None
    """Where prepared data sets are kept, if not in the store: a folder, or s3://bucket/prefix."""
    checkpoints: DataPath | None = None
    """Where checkpoints are kept, if not in the store: a folder that all nodes share, or s3://bucket/prefix. The run's
    folder, where there is neither, is enough where all workers are on one node."""
    cache_bytes: int = Field(default=20 * 10**9, ge=0)
    """Of shards from a store that are kept on each node, in `.cache` of the root."""

    @property
    def data_sets(self) -> str | None:
        """Where they are kept; None for the folder of runs."""
        return self.data or (self.store and inside(self.store, "data"))


class Experiment(Config):
    """Everything that decides a run. Fields of `WHERE` say where it runs and how it is watched and scored."""

    name: Name
    seed: Seed = 0
    data: sources.AnyConfig
    schedule: schedules.AnyConfig
    transform: transforms.AnyConfig
    network: networks.AnyConfig
    head: heads.AnyConfig
    volatility: volatilities.AnyConfig
    process: processes.AnyConfig
    objective: objectives.AnyConfig
    sampler: sampling.AnyConfig
    training: TrainingConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    monitor: MonitorConfig = MonitorConfig()
    evaluation: Evaluation = Evaluation()
    samples: Samples = Samples()
    scaling: Scaling = Scaling()
    run: Run = Run()
    storage: Storage = Field(default_factory=Storage)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        batch, streams, workers = self.training.batch_size, self.data.streams, self.scaling.workers
        if batch % streams:
            raise ValueError(
                f"training.batch_size={batch} must be a multiple of data.streams={streams}, "
                f"for example {max(batch // streams, 1) * streams}"
            )
        most = workers[1] if isinstance(workers, tuple) else workers
        if most != "auto" and most > streams:
            raise ValueError(
                f"scaling.workers={most} is more than data.streams={streams}, of which every worker reads one or more"
            )
        if self.objective.kind == "discrete" and self.volatility.kind == "constant" and self.volatility.eta > 1:
            raise ValueError(
                f"volatility.eta={self.volatility.eta} needs objective.kind=continuous: in discrete time the posterior "
                "variance eta v may not exceed sigma_s^2, so eta is at most 1"
            )
        if (
            self.training.precision != "fp32"
            and self.objective.kind == "discrete"
            and hasattr(self.transform, "network")
        ):
            raise ValueError(
                f"training.precision={self.training.precision} needs objective.kind=continuous: a discrete step weighs "
                "the difference of F at two near times, which is lost in the rounding; or give training.precision=fp32"
            )
        if self.evaluation.ema is not None and not self.monitor.ema_widths:
            raise ValueError(
                f"evaluation.ema={self.evaluation.ema} is made of averages that are kept from the start of a training: "
                "give monitor.ema_widths there, such as [0.05,0.1], and monitor.snapshot_every"
            )
        if isinstance(self.head.build(), DriftHead):
            needs = f"head.kind={self.head.kind} needs"
            if self.objective.kind == "discrete":
                raise ValueError(f"{needs} objective.kind=continuous: a discrete step asks for F at two times")
            if not isinstance(self.sampler, ReverseConfig) or self.sampler.eta is not None:
                raise ValueError(
                    f"{needs} sampler.kind=sde or stochastic_heun, without sampler.eta: it estimates the drift of one "
                    "reverse SDE, and there is no ODE and no ancestral step"
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
        return {key: value for key, value in leaves.items() if deciding is None or _decides(key) is deciding}


WHERE = frozenset({"run", "scaling", "storage", "tracking", "monitor", "evaluation", "sampler", "samples"})
PLACES = frozenset({"data.path", "data.verify"})
"""Keys of other sections that are like WHERE: which data are found there decides, and the manifest's hash says it."""
OF_RUNS = ("storage", "tracking")
"""Sections of WHERE that tell of the machine and are not handed on with a run."""
HOW = frozenset({"recompute"})
"""Keys of any section, by their last part, that change what is computed only in the order of floating-point sums."""


def _decides(key: str) -> bool:
    return key.partition(".")[0] not in WHERE and key.rpartition(".")[2] not in HOW and key not in PLACES


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as dotted keys; lists are leaves."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def handed_on(tree: dict[str, Any]) -> dict[str, Any]:
    """The sections of an experiment that do not tell of the machine."""
    return {key: value for key, value in tree.items() if key not in OF_RUNS}
