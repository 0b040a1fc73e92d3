"""The training loop, as a generator of events; all randomness and all progress are functions of the examples seen."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple, Protocol, Self

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
from ndm.networks._dropout import words
from ndm.objectives import Terms
from ndm.sampling import Sampler
from ndm.training.clock import Clock
from ndm.training.flips import flipped
from ndm.training.numerics import NumericsConfig
from ndm.training.optimizer import OptimizerConfig
from ndm.training.profiles import NARROWEST, WIDEST, part_name
from ndm.training.state import State
from ndm.training.step import Slots, Step, noise, step


class TrainingConfig(NumericsConfig):
    """How long and in what portions; everything is counted in examples."""

    examples: int = Field(gt=0, lt=10**12)
    """The training ends with the first batch that reaches them."""
    batch_size: int = Field(default=128, gt=0)
    """Examples of the global batch, whatever the number of workers."""
    ema: float = Field(default=0.9999, ge=0, lt=1)
    """Decay per step of the averaged weights, min(ema, (1 + n) / (10 + n)) at step n."""


class MonitorConfig(registry.Config):
    """What is recorded on the way, in examples between two records; no influence on the weights."""

    log_every: int = Field(default=6400, gt=0)
    validate_every: int = Field(default=64000, gt=0)
    """Also the rhythm of the sample grids."""
    checkpoint_every: int = Field(default=64000, gt=0)
    keep: int = Field(default=2, ge=2)
    """Checkpoints kept, newest first, beside the one with the best validation."""
    largest: float = Field(default=1e6, gt=0)
    """Bits per dimension of a record above which the training is given up as diverged."""
    validation_images: int = Field(default=1000, gt=0)
    """At most this many, always the first ones of the validation split."""
    validation_draws: int = Field(default=8, gt=0)
    """Draws per image of the validation bound, stratified in time, always the same ones."""
    ema_widths: tuple[Annotated[float, Field(ge=NARROWEST, le=WIDEST)], ...] = ()
    """Relative widths of more averages of the weights (see `profiles`), from the start of a run or never."""
    snapshot_every: int = Field(default=0, ge=0)
    """Rhythm of keeping those averages for good, so that any other width can be had of them later; 0 for never."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({part_name(width) for width in self.ema_widths}) < len(self.ema_widths):
            raise ValueError(f"ema_widths={list(self.ema_widths)} must differ in their first three decimals")
        if self.snapshot_every and not self.ema_widths:
            raise ValueError(
                f"snapshot_every={self.snapshot_every} has no averages to keep; give ema_widths too, such as [0.05,0.1]"
            )
        return self

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        for key in ("validate_every", "checkpoint_every", "snapshot_every"):
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


class Snapshot(NamedTuple):
    """The averages of `state.profiles` are to be kept for good; comes before a `Checkpointable` of its position."""

    position: int


class Checkpointable(NamedTuple):
    """The state is to be saved now; the loop goes on when the consumer asks for the next event."""

    position: int


class Stopped(NamedTuple):
    """A stop was asked for and every worker has reached the same position; the state was offered for saving."""

    position: int


Event = Logged | Sampled | Snapshot | Checkpointable | Stopped


class Diverged(Exception):
    """The loss or a gradient is not a number, or too large: nothing is saved of what came after the last record."""

    def __init__(self, position: int, bits: float, norm: float) -> None:
        super().__init__(f"a loss of {bits:g} bits/dim and a gradient of norm {norm:g} at {position} examples")
        self.position, self.bits, self.norm = position, bits, norm
        """Examples before the first batch that shows it, and that batch's loss and norm of the gradient."""


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
    slots: range
    """This worker's places in a global batch."""
    until: int | None = None
    """Examples at which this part of the training ends, as if they were all; None for `training.examples`."""
    microbatch: int | None = None
    """At most this many examples go through the model together; None for all that a worker has."""
    flip: bool = False
    """Mirror a random half of the training images."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world: int = 1
    should_stop: Callable[[], bool] = lambda: False
    """Asked on rank 0 at every log position; the answer is shared, so that all workers stop together."""

    def run(self, state: State, batches: Iterable[Batch]) -> Iterator[Event]:
        """Train from `state.position` to the end of the batches, yielding what happens; updates `state` in place.

        Raises:
            Diverged: on all workers at the same record.
        """
        clock = Clock(self.device)
        module = state.objective
        if self.world > 1:
            module = DistributedDataParallel(state.objective, gradient_as_bucket_view=True)  # nothing is copied
            clock.watch(module)
        decoder, model = state.objective.model.decoder, state.objective.model
        size, slots = self.training.batch_size, self.slots
        since = Since(state.position)
        for batch in clocked(batches, clock):
            assert batch.position == state.position, "the order of examples and the state disagree"
            place = Slots(batch.position, size, slots.start, len(slots))
            raw = batch.raw.to(self.device)
            x = decoder.encode(flipped(raw, self.seed, place) if self.flip else raw)
            draws = noise(self.seed, place, model.shape)
            draws = type(draws)(*(d.to(self.device) for d in draws))
            end = state.position + size
            rate = self.optimizer.rate(end, self.training.examples)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            dropout = words(state.objective, self.seed, place.position + place.first, place.count)
            done = step(
                module,
                state,
                x,
                draws,
                clip=self.optimizer.clip,
                microbatch=self.microbatch,
                share=size / self.world,
                dropout=None if dropout is None else dropout.to(self.device),
                clock=clock,
            )
            with clock.lap("average"):
                state.ema.update(state.objective, end // size)
                state.profiles.update(state.objective, end // size)
            before, state.position = state.position, end
            since.add(done, checksum(batch.index, place))
            final = end >= (self.until or self.training.examples)

            def due(every: int, before: int = before, end: int = end, final: bool = final) -> bool:
                return final or end // every > before // every

            if not due(self.monitor.log_every):
                continue
            metrics = self._record(since, model, rate, clock)
            since = Since(end)
            yield Logged(end, metrics)
            if due(self.monitor.validate_every):
                with clock.host("validation"):
                    yield Logged(end, _metrics("validation", self._validate(state), model))
                    if self.rank == 0:
                        raw, _ = self.sampler.sample(state.ema.objective.model, 0, self.samples, self.seed)
                        yield Sampled(end, raw.cpu())
            if self.monitor.snapshot_every and due(self.monitor.snapshot_every):
                with clock.host("checkpoint"):
                    yield Snapshot(end)
            stop = not final and self._agree_to_stop()
            if stop or due(self.monitor.checkpoint_every):
                with clock.host("checkpoint"):
                    yield Checkpointable(end)
            if stop:
                yield Stopped(end)
                return
            since.resume()

    def _record(self, since: "Since", model: Model, rate: float, clock: Clock) -> dict[str, float]:
        """The metrics of the steps since the last record.

        Raises:
            Diverged: they are no numbers to go on with.
        """
        steps, size = len(since.norms), self.training.batch_size
        terms, norms = torch.stack(since.terms), torch.stack(since.norms)
        own = [*terms.sum(0), steps * len(self.slots), sum(since.seen) % WORDS]
        total = self._total(own)
        metrics = _metrics("train", total[:3] / total[3], model)
        norm = norms.double().mean().item()
        bits = metrics["train/bits_per_dim"]
        if not (abs(bits) <= self.monitor.largest and math.isfinite(norm)):
            raise self._diverged(since, terms, norms, model)
        seconds = since.seconds()
        metrics["train/examples_checksum"] = total[4].item() % WORDS
        metrics["train/gradient_norm"] = norm
        metrics["train/learning_rate"] = rate
        metrics["train/examples_per_second"] = steps * size / seconds
        metrics |= {f"time/{name}_ms": 1000 * spent / steps for name, spent in clock.read().items()}
        metrics["time/step_ms"] = 1000 * seconds / steps
        if self.device.type == "cuda":
            metrics["train/gpu_memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        return metrics

    def _diverged(self, since: "Since", terms: Tensor, norms: Tensor, model: Model) -> Diverged:
        """Which step was the first of them, with all workers' losses of it; the same answer on all of them."""
        losses = self._total(terms.sum(1).double().cpu() / self.training.batch_size)
        bits = bits_per_dim(losses, math.prod(model.shape))
        fine = (bits.abs() <= self.monitor.largest) & norms.cpu().isfinite()
        first = int(fine.int().argmin()) if not fine.all() else len(fine) - 1
        at = since.position + first * self.training.batch_size
        return Diverged(at, float(bits[first]), float(norms[first]))

    def _total(self, values: Iterable[Tensor | int]) -> Tensor:
        """Sums of each value over all workers, float64."""
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


class Since:
    """What happened since the last record; on a GPU nothing of it is waited for before it is read."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.terms: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.seen: list[int] = []
        self.resume()

    def add(self, done: Step, seen: int) -> None:
        """A step, with the checksum of its examples."""
        self.terms.append(done.terms.double())
        self.norms.append(done.gradient_norm)
        self.seen.append(seen)

    def resume(self) -> None:
        """The time of what is no step, a validation for one, does not count."""
        self._began = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self._began


def clocked(batches: Iterable[Batch], clock: Clock) -> Iterator[Batch]:
    """The batches, with the time that is spent in waiting for them."""
    source = iter(batches)
    while True:
        with clock.host("data"):
            batch = next(source, None)
        if batch is None:
            return
        yield batch


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
