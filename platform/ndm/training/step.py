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
    accumulate: int,
    clip: float,
    dropout: Tensor | None = None,
) -> Step:
    """Forward, backward, clip and update; gradients are averaged over the workers' equal parts.

    `dropout` are the words of these examples, see `ndm.networks._dropout`; without them nothing is dropped.
    """
    state.optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(3, device=x.device)
    parts = list(zip(x.chunk(accumulate), *(part.chunk(accumulate) for part in noise), strict=True))
    for i, (x_part, *drawn) in enumerate(parts):
        noise_part = Noise(*drawn)
        last = i == len(parts) - 1
        alone = (
            contextlib.nullcontext() if last or not isinstance(module, DistributedDataParallel) else module.no_sync()
        )
        with alone, masked(state.objective, None if dropout is None else dropout.chunk(accumulate)[i]):
            terms: Terms = module(x_part, noise_part)
            loss = state.objective.loss(terms, noise_part)
            (loss.sum() / len(x)).backward()  # pyright: ignore[reportUnknownMemberType]
        sums += torch.stack([term.detach().sum() for term in terms])
    norm = torch.nn.utils.clip_grad_norm_(state.objective.parameters(), clip)
    state.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    return Step(sums, norm)
