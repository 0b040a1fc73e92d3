"""The training loop, as a generator of events; all randomness and all progress are functions of the examples seen."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
import torch.distributed as dist
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ndm import registry
from ndm.likelihood.elbo import elbo
from ndm.likelihood.statistics import bits_per_dim
from ndm.model import Model
from ndm.objectives import Terms
from ndm.sampling import Sampler
from ndm.training.numerics import NumericsConfig
from ndm.training.optimizer import OptimizerConfig
from ndm.training.state import State
from ndm.training.step import Slots, noise, step


class TrainingConfig(NumericsConfig):
    """How long and in what portions; everything is counted in examples."""

    examples: int = Field(gt=0, lt=10**12)
    """The training ends with the first batch that reaches them."""
    batch_size: int = Field(default=128, gt=0)
    """Examples of the global batch, whatever the number of workers."""
    accumulate: int = Field(default=1, gt=0)
    """Forward-backward passes a worker splits its part of the batch into."""
    ema: float = Field(default=0.9999, ge=0, lt=1)
    """Decay per step of the averaged weights, min(ema, (1 + n) / (10 + n)) at step n."""


class MonitorConfig(registry.Config):
    """What is recorded on the way, in examples between two records; no influence on the weights."""

    log_every: int = Field(default=6400, gt=0)
    validate_every: int = Field(default=64000, gt=0)
    """Also the rhythm of the sample grids."""
    checkpoint_every: int = Field(default=64000, gt=0)
    keep: int = Field(default=2, ge=2)
    """Checkpoints kept, newest first."""
    validation_images: int = Field(default=1000, gt=0)
    """At most this many, always the first ones of the validation split."""
    validation_draws: int = Field(default=8, gt=0)
    """Draws per image of the validation bound, stratified in time, always the same ones."""

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        for key in ("validate_every", "checkpoint_every"):
            if getattr(self, key) % self.log_every:
                raise ValueError(
                    f"{key}={getattr(self, key)} must be a multiple of log_every={self.log_every}, "
                    "so that a resumed run logs the same means"
                )
        return self


class Logged(NamedTuple):
    """Metrics of the examples since the last record, or of the validation images."""

    position: int
    metrics: dict[str, float]


class Sampled(NamedTuple):
    """The sample grid, always from the same latents."""

    position: int
    raw: Tensor
    """Stored values of the samples, [N, *shape]; on rank 0 only."""


class Checkpointable(NamedTuple):
    """The state is to be saved now; the loop goes on when the consumer asks for the next event."""

    position: int


class Stopped(NamedTuple):
    """A stop was asked for and every worker has reached the same position; the state was offered for saving."""

    position: int


Event = Logged | Sampled | Checkpointable | Stopped


class Batch(Protocol):
    """A worker's part of the global batch that starts at `position`."""

    @property
    def position(self) -> int:
        """Examples before the global batch."""
        ...

    @property
    def raw(self) -> Tensor:
        """Stored values of the part, [b, *shape]."""
        ...

    @property
    def index(self) -> Tensor:
        """Row numbers of the part in the split, [b], int64."""
        ...


@dataclass(frozen=True, kw_only=True)
class Loop:
    """All that the loop needs beside the state and the batches."""

    training: TrainingConfig
    optimizer: OptimizerConfig
    monitor: MonitorConfig
    sampler: Sampler
    samples: int
    """Images in a sample grid, always from the same latents."""
    seed: int
    validation: Tensor
    """Stored values of the validation images of this worker, [n, *shape]."""
    validation_first: int
    """Id of the first of them."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world: int = 1
    should_stop: Callable[[], bool] = lambda: False
    """Asked on rank 0 at every log position; the answer is shared, so that all workers stop together."""

    def run(self, state: State, batches: Iterable[Batch]) -> Iterator[Event]:
        """Train from `state.position` to `training.examples`, yielding what happens; updates `state` in place."""
        module = DistributedDataParallel(state.objective) if self.world > 1 else state.objective
        decoder, model = state.objective.model.decoder, state.objective.model
        size = self.training.batch_size
        part = size // self.world
        sums, norms = torch.zeros(3, dtype=torch.float64, device=self.device), torch.zeros((), device=self.device)
        steps, seen, busy, began = 0, 0, 0.0, time.perf_counter()
        for batch in batches:
            assert batch.position == state.position, "the order of examples and the state disagree"
            slots = Slots(batch.position, size, self.rank * part, part)
            x = decoder.encode(batch.raw.to(self.device))
            draws = noise(self.seed, slots, model.shape)
            draws = type(draws)(*(d.to(self.device) for d in draws))
            end = state.position + size
            rate = self.optimizer.rate(end, self.training.examples)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            done = step(module, state, x, draws, accumulate=self.training.accumulate, clip=self.optimizer.clip)
            state.ema.update(state.objective, end // size)
            before, state.position = state.position, end
            sums += done.terms
            norms += done.gradient_norm
            steps += 1
            seen += checksum(batch.index, slots)
            final = end >= self.training.examples

            def due(every: int, before: int = before, end: int = end, final: bool = final) -> bool:
                return final or end // every > before // every

            if due(self.monitor.log_every):
                total = self._total([*sums, steps * part, seen % WORDS])
                metrics = _metrics("train", total[:3] / total[3], model)
                metrics["train/examples_checksum"] = total[4].item() % WORDS
                metrics["train/gradient_norm"] = norms.item() / steps
                metrics["train/learning_rate"] = rate
                busy += time.perf_counter() - began
                metrics["train/examples_per_second"] = steps * size / busy
                yield Logged(end, metrics)
                sums.zero_()
                norms.zero_()
                steps, seen, busy, began = 0, 0, 0.0, time.perf_counter()
            if due(self.monitor.validate_every):
                busy += time.perf_counter() - began
                yield Logged(end, _metrics("validation", self._validate(state), model))
                if self.rank == 0:
                    raw, _ = self.sampler.sample(state.ema.objective.model, 0, self.samples, self.seed)
                    yield Sampled(end, raw.cpu())
                began = time.perf_counter()
            stop = due(self.monitor.log_every) and not final and self._agree_to_stop()
            if stop or due(self.monitor.checkpoint_every):
                busy += time.perf_counter() - began
                yield Checkpointable(end)
                began = time.perf_counter()
            if stop:
                yield Stopped(end)
                return

    def _total(self, values: Sequence[Tensor | int]) -> Tensor:
        """Sums of the values over all workers, float64."""
        total = torch.tensor([float(value) for value in values], dtype=torch.float64, device=self.device)
        if self.world > 1:
            dist.all_reduce(total)  # pyright: ignore[reportUnknownMemberType]
        return total.cpu()

    def _validate(self, state: State) -> Tensor:
        """Mean terms of the bound of the averaged weights on the validation images of all workers, shape [3]."""
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        decoder = state.objective.model.decoder
        for start in range(0, len(self.validation), self.training.batch_size):
            x = decoder.encode(self.validation[start : start + self.training.batch_size].to(self.device))
            terms = elbo(
                state.ema.objective,
                x,
                self.validation_first + start,
                seed=self.seed,
                draws=self.monitor.validation_draws,
            )
            sums += torch.stack([term.sum() for term in terms])
        total = self._total([*sums, len(self.validation)])
        return total[:3] / total[3]

    def _agree_to_stop(self) -> bool:
        flag = torch.tensor([float(self.rank == 0 and self.should_stop())], device=self.device)
        if self.world > 1:
            dist.broadcast(flag, 0)
        return bool(flag.item())


WORDS = 2**32
GOLDEN, SILVER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd; the bits of a row go everywhere


def checksum(index: Tensor, slots: Slots) -> int:
    """A number below 2^32 of which row stands in which slot; the parts of a global batch add up, modulo 2^32.

    Equal examples in equal order have equal numbers on any number of workers, which a log can show.
    """
    place = np.arange(slots.first, slots.first + slots.count, dtype=np.uint64) + np.uint64(slots.position)
    words = (index.numpy().astype(np.uint64) * GOLDEN) ^ (place * SILVER)
    words = (words ^ (words >> np.uint64(29))) * GOLDEN
    return int((words >> np.uint64(32)).sum()) % WORDS


def _metrics(split: str, means: Tensor, model: Model) -> dict[str, float]:
    """Named metrics from the mean terms: the bound and its parts in bits per dimension."""
    bits = [float(value) for value in bits_per_dim(means, math.prod(model.shape))]
    return {f"{split}/bits_per_dim": sum(bits)} | {
        f"{split}/{name}": value for name, value in zip(Terms._fields, bits, strict=True)
    }
