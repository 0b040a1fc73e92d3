"""One optimiser step on this worker's part of a global batch."""

import contextlib
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ndm.networks._dropout import masked
from ndm.objectives import Noise, Objective, Terms
from ndm.randomness import Stream
from ndm.training.clock import Clock
from ndm.training.state import State


@dataclass(frozen=True)
class Slots:
    """This worker's places in the global batch that starts at `position`."""

    position: int
    batch_size: int
    first: int
    count: int


def noise(seed: int, slots: Slots, shape: tuple[int, ...]) -> Noise:
    """The slots' randomness, a function of (seed, position) alone: the same for any number of workers.

    Times are antithetic over the GLOBAL batch, u_i = frac(u_0 + i / B) (Kingma et al., arXiv 2107.00630, appendix I.1),
    which leaves each u_i uniform and spreads a batch evenly over time.
    """
    offset = Stream(seed, "train/time").uniform(slots.position, 1)
    index = torch.arange(slots.first, slots.first + slots.count, dtype=torch.float64)
    start = slots.position + slots.first
    return Noise(
        u=torch.frac(offset + index / slots.batch_size),
        epsilon=Stream(seed, "train/epsilon").normal(start, slots.count, shape),
        epsilon_0=Stream(seed, "train/epsilon_0").normal(start, slots.count, shape),
    )


class Step(NamedTuple):
    """What one step measured on this worker."""

    terms: Tensor
    """Sums over the worker's examples of (prior, reconstruction, diffusion), nats, shape [3]."""
    gradient_norm: Tensor
    """Norm of the global gradient before clipping."""


def step(
    module: Objective | DistributedDataParallel,
    state: State,
    x: Tensor,
    noise: Noise,
    *,
    clip: float,
    microbatch: int | None = None,
    share: float | None = None,
    dropout: Tensor | None = None,
    clock: Clock | None = None,
) -> Step:
    """Forward, backward, clip and update.

    `x` is this worker's part of the global batch, of any size; at most `microbatch` examples of it go through the model
    together. Gradients are averaged over the workers, so the losses are divided by `share`, the examples that each
    worker would have if all had as many (by default those it has): the result is the mean over the global batch.
    `dropout` are the words of these examples, see `ndm.networks._dropout`; without them nothing is dropped.
    """
    clock = clock or Clock(x.device)
    state.optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(3, device=x.device)
    size = microbatch or len(x)
    parts = list(zip(*(torch.split(part, size) for part in (x, *noise)), strict=True))
    for i, (x_part, *drawn) in enumerate(parts):
        noise_part = Noise(*drawn)
        last = i == len(parts) - 1
        alone = (
            contextlib.nullcontext() if last or not isinstance(module, DistributedDataParallel) else module.no_sync()
        )
        words = None if dropout is None else dropout[i * size : (i + 1) * size]
        with alone, masked(state.objective, words):
            with clock.lap("forward"):
                terms: Terms = module(x_part, noise_part)
                loss = state.objective.loss(terms, noise_part).sum() / (share or len(x))
            with clock.lap("backward"):
                loss.backward()  # pyright: ignore[reportUnknownMemberType]
        sums += torch.stack([term.detach().sum() for term in terms])
    with clock.lap("optimizer"):
        norm = torch.nn.utils.clip_grad_norm_(state.objective.parameters(), clip)
        state.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    return Step(sums, norm)
