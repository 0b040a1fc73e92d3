"""The Runge-Kutta method of order 5 by Dormand and Prince, with each row of a batch under its own control.

Dormand and Prince, A family of embedded Runge-Kutta formulae (1980). Every row has its own time, step size and verdict
on a step; all rows advance in one batched evaluation per stage, and finished rows leave the batch. So the result of a
row depends on the row alone. A step size shared by the batch, as in torchdiffeq, makes an image's likelihood depend on
its neighbours.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ndm.errors import UserError

NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""The last row is the result itself, so its slope begins the next step (first same as last)."""
DEFECT = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""Weights of the difference between the results of order 5 and order 4."""
SAFETY, SHRINK, GROW = 0.8, 0.2, 5.0
MOST_STEPS = 2000

Field = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(z: [n, *shape], t: [n], rows: [n]) -> (dz/dt: [n, *shape], dl/dt: [n]); rows are places in the whole batch."""


class Solution(NamedTuple):
    z: Tensor
    """The state at the end, [B, *shape], float64."""
    integral: Tensor
    """The integral of dl/dt, [B], float64."""
    evaluations: Tensor
    """Evaluations of the field for each row, [B]."""
    batches: int
    """Batched evaluations of the field."""


def step(f: Callable[[Tensor, Tensor], Tensor], y: Tensor, k: Tensor, t: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """(y(t + h), the slope there, the estimate of the error) from y: [n, D], its slope k, and t, h: [n]."""
    slopes, new = [k], y
    for weights, node in zip(STAGES, NODES, strict=True):
        new = y + h[:, None] * sum(w * s for w, s in zip(weights, slopes, strict=True))
        slopes.append(f(new, t + node * h))
    return new, slopes[-1], h[:, None] * sum(w * s for w, s in zip(DEFECT, slopes, strict=True))


@torch.no_grad()
def solve(
    field: Field,
    z: Tensor,
    start: float = 0.0,
    end: float = 1.0,
    *,
    tolerance: float,
    density: bool = False,
    most_steps: int = MOST_STEPS,
) -> Solution:
    """Integrates z: [B, *shape] and l from `start` to `end`, in either direction, and asks for no time outside them.

    A step is accepted if the root mean square of its error over tolerance (1 + |z|) is at most one. With `density` the
    error of l over tolerance D must be at most one as well; without it l follows the steps that z needs, which then
    do not depend on how the divergence was estimated. Computed in float64, whatever the field computes in.

    Raises:
        UserError: a row needs more than `most_steps` steps, or the field is not finite.
    """
    shape, span, size = z.shape[1:], end - start, z[:1].numel()
    rows = torch.arange(len(z), device=z.device)
    y = torch.cat([z.double().flatten(1), z.new_zeros(len(z), 1, dtype=torch.float64)], 1)
    s = y.new_zeros(len(z))  # the share of the way that is done
    h = torch.full_like(s, tolerance**0.2 / 10)
    finished, evaluations, batches = torch.empty_like(y), torch.zeros_like(rows), 0

    def slope(y: Tensor, s: Tensor) -> Tensor:
        nonlocal batches
        batches += 1
        evaluations[rows] += 1
        time = (start + span * s).clamp(min(start, end), max(start, end))
        dz, dl = field(y[:, :-1].reshape(-1, *shape), time, rows)
        return span * torch.cat([dz.flatten(1), dl[:, None]], 1).double()

    k = slope(y, s)
    for _ in range(most_steps):
        last = h >= 1 - s
        h = torch.where(last, 1 - s, h)
        new, k_new, defect = step(slope, y, k, s, h)
        scaled = defect[:, :-1] / (1 + torch.maximum(y.abs(), new.abs())[:, :-1])
        error = scaled.square().mean(1).sqrt() / tolerance
        if density:
            error = torch.maximum(error, defect[:, -1].abs() / (tolerance * size))
        error = error.nan_to_num(nan=torch.inf)
        good = error <= 1
        y, k = torch.where(good[:, None], new, y), torch.where(good[:, None], k_new, k)
        s = torch.where(good, torch.where(last, 1.0, s + h), s)
        h = h * (SAFETY * error**-0.2).clamp(SHRINK, GROW)
        done = s == 1
        finished[rows[done]] = y[done]
        rows, y, k, s, h = (v[~done] for v in (rows, y, k, s, h))
        if not len(rows):
            return Solution(finished[:, :-1].reshape(z.shape), finished[:, -1], evaluations, batches)
    raise UserError(
        f"the ODE of {len(rows)} of {len(z)} images did not get past t = {start + span * float(s.min()):.3g} in "
        f"{most_steps} steps at tolerance {tolerance:g}; give a larger tolerance, or a model that is trained"
    )
