"""Adams's predictor and corrector of variable order and step, one evaluation a step, each row under its own control.

A step of order q predicts y(t + h) from the last q slopes, evaluates the field there, and corrects y with that slope to
order q + 1; the slope is kept as it is (PEC). The estimate of the error is that of Shampine and Gordon, Computer
Solution of Ordinary Differential Equations (1975): what the correction gains over the one of order q. Those of q - 1
and q + 1 tell which order allows the longest step. A Runge-Kutta method of order 5 evaluates six times for a step that
is not six times as long: benchmarks/README.md has the comparison.

Every row has its own time, step size, order and verdict on a step; all rows advance in one batched evaluation, and
finished rows leave the batch. So the result of a row depends on the row alone. A step size shared by the batch, as in
torchdiffeq, makes an image's likelihood depend on its neighbours.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ndm.errors import UserError

MOST = 5
"""Highest order of a prediction, the corrected result has one more; with one evaluation higher ones are less stable."""
GOAL, SHRINK, GROW = 0.5, 0.2, 2.0
"""The error aimed at, over the one allowed, and the limits of a change of step size."""
MOST_STEPS = 5000

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


def basis(nodes: Tensor, orders: Tensor, x: Tensor) -> Tensor:
    """Lagrange's polynomials of each row's first orders[:, i] nodes at x_i, zero for the other nodes, [n, X, K]."""
    used = torch.arange(nodes.shape[1], device=nodes.device) < orders[..., None]
    others = used[:, :, None] & ~torch.eye(nodes.shape[1], dtype=torch.bool, device=nodes.device)
    ratios = (x[:, None, None] - nodes[:, None, None]) / (nodes[:, None, :, None] - nodes[:, None, None])
    return torch.where(used, torch.where(others, ratios, 1.0).prod(3), 0.0)


class Weights(NamedTuple):
    """A step of length one from time 0, for slopes at `nodes`; orders are those before, of and after the step's."""

    predict: Tensor
    """Of the slopes in the integral of their polynomial over the step, [n, K]."""
    extrapolate: Tensor
    """Of the slopes in the value of their polynomial at the end of the step, for the three orders, [n, 3, K]."""
    correct: Tensor
    """What a unit of difference between the slope found and that value, for the step's order, adds to y, [n]."""
    error: Tensor
    """What it adds less what it adds to the result of one order less: the estimate of the error, [n, 3]."""


def weights(nodes: Tensor, orders: Tensor) -> Weights:
    """For times of past slopes in units of the step, [n, K], newest (zero) first, and three orders, [n, 3]."""
    points, shares = np.polynomial.legendre.leggauss(nodes.shape[1] // 2 + 1)
    x, share = nodes.new_tensor((points + 1) / 2), nodes.new_tensor(shares / 2)
    values = basis(nodes, torch.cat([orders[:, 1:2].expand(-1, len(x)), orders], 1), torch.cat([x, x.new_ones(3)]))
    predict, extrapolate = torch.einsum("x,nxk->nk", share, values[:, :-3]), values[:, -3:]
    # A unit of difference at the end changes the polynomial by prod_j (x - node_j) / (1 - node_j), over j <= order. The
    # result of one order less leaves out the oldest slope instead: (x - 1) takes the place of the last factor.
    ends = (1 - nodes).cumprod(1).gather(1, orders - 1)
    powers = (x[:, None] - nodes[:, None]).cumprod(2)
    before = torch.cat([torch.ones_like(powers[..., :1]), powers[..., :-1]], 2) * (x[:, None] - 1)
    full, less = (torch.einsum("x,nxk->nk", share, v).gather(1, orders - 1) / ends for v in (powers, before))
    return Weights(predict, extrapolate, full[:, 1], less)


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
    h = torch.full_like(s, tolerance**0.5 / 10)
    finished, evaluations, batches = torch.empty_like(y), torch.zeros_like(rows), 0

    def slope(y: Tensor, s: Tensor) -> Tensor:
        nonlocal batches
        batches += 1
        evaluations[rows] += 1
        time = (start + span * s).clamp(min(start, end), max(start, end))
        dz, dl = field(y[:, :-1].reshape(-1, *shape), time, rows)
        return span * torch.cat([dz.flatten(1), dl[:, None]], 1).double()

    past = y.new_zeros(len(y), MOST, size + 1)
    past[:, 0] = slope(y, s)
    times, known, order = y.new_zeros(len(y), MOST), torch.ones_like(rows), torch.ones_like(rows)
    for _ in range(most_steps):
        last = h >= 1 - s
        h = torch.where(last, 1 - s, h)
        orders = torch.stack([(order - 1).clamp(min=1), order, torch.minimum(order + 1, known)], 1)
        w = weights((times - s[:, None]) / h[:, None], orders)
        sums = torch.cat([w.predict[:, None], w.extrapolate], 1) @ past
        found = slope(y + h[:, None] * sums[:, 0], s + h)
        gaps = found[:, None] - sums[:, 1:]
        new = y + h[:, None] * (sums[:, 0] + w.correct[:, None] * gaps[:, 1])
        scale = 1 + torch.maximum(y.abs(), new.abs())[:, :-1]
        errors = (gaps[..., :-1] / scale[:, None]).square().mean(2).sqrt()
        if density:
            errors = torch.maximum(errors, gaps[..., -1].abs() / size)
        errors = (errors * h[:, None] * w.error.abs() / tolerance).nan_to_num(nan=torch.inf)
        good = errors[:, 1] <= 1
        factors = torch.pow(GOAL / errors, 1 / (orders + 1))
        # A step's own order is the last of equals; at first every step raises it, and a rejected one never does.
        best = orders[:, [1, 0, 2]].gather(1, factors[:, [1, 0, 2]].argmax(1, keepdim=True))[:, 0]
        rising = good & (known == order) & (order < MOST)
        factor = torch.where(rising | ~good, factors[:, 1], factors.amax(1)).clamp(SHRINK, GROW)
        order = torch.where(rising, order + 1, torch.where(good, best, torch.minimum(order, best)))
        y = torch.where(good[:, None], new, y)
        s = torch.where(good, torch.where(last, 1.0, s + h), s)
        past = torch.where(good[:, None, None], torch.cat([found[:, None], past[:, :-1]], 1), past)
        times = torch.where(good[:, None], torch.cat([s[:, None], times[:, :-1]], 1), times)
        known = torch.where(good, (known + 1).clamp(max=MOST), known)
        h = h * factor
        done = s == 1
        finished[rows[done]] = y[done]
        left: list[Tensor] = [v[~done] for v in (rows, y, s, h, past, times, known, order)]
        rows, y, s, h, past, times, known, order = left
        if not len(rows):
            return Solution(finished[:, :-1].reshape(z.shape), finished[:, -1], evaluations, batches)
    raise UserError(
        f"the ODE of {len(rows)} of {len(z)} images did not get past t = {start + span * float(s.min()):.3g} in "
        f"{most_steps} steps at tolerance {tolerance:g}; give a larger tolerance, or a model that is trained"
    )
