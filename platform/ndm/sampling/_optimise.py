"""The times that serve one trained model best: descent on a sampler's error against a finely solved reference.

The times are described by the logarithms of the steps they make in gamma, so that any values are a grid. One logarithm
after the other is moved up or down by a stride; a move stays if it lowers the error, and a round without gain halves
the stride. No gradient goes through the sampler. A round costs at most 2 n runs of n steps.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from ndm.model import Model
from ndm.sampling._grid import GridSampler, Rule, gamma_at, grid_times

Times = tuple[float, ...]
RULES: tuple[Rule, ...] = ("uniform", "log_snr", "edm")
TABLE = 4096
"""Equal steps of gamma, between which t(gamma) is taken to be straight."""
STRIDE = 0.5
"""First change of a step's logarithm."""
LEAST_STRIDE = 0.005
DIGITS = 6
"""Significant digits of a time, which a configuration shall hold."""


@torch.no_grad()
def optimised_times(
    build: Callable[[Times], GridSampler], model: Model, z: Tensor, target: Tensor, steps: int, rounds: int = 40
) -> Times:
    """The steps + 1 times, from 1 to 0, with the least root mean square error found; never more than the best rule's.

    `build` makes the sampler for given times: a deterministic one. z: [N, *shape] are held-out latents at t = 1 and
    target: [N, *shape] where a fine solution takes them, for example Ode(1e-6).run(model, z, 0, 0).z.
    """
    table = torch.tensor(grid_times(model, TABLE, "log_snr", z.device), dtype=torch.float64)

    def error(times: Times) -> float:
        sound = all(t > s for t, s in pairwise(times))  # rounding may have merged two
        return float((build(times).run(model, z, 0, 0).z - target).square().mean().sqrt()) if sound else torch.inf

    def rounded(times: Times) -> Times:
        return tuple(float(f"{t:.{DIGITS}g}") for t in times)

    def to_times(logarithms: Tensor) -> Times:
        place = torch.softmax(logarithms, 0).cumsum(0)[:-1] * TABLE
        below = place.floor().long().clamp(0, TABLE - 1)
        inner = torch.lerp(table[below], table[below + 1], place - below)
        return rounded((1.0, *(float(t) for t in inner), 0.0))

    best = min((rounded(grid_times(model, steps, rule, z.device)) for rule in RULES), key=error)
    least, stride = error(best), STRIDE
    logarithms = -gamma_at(model, torch.tensor(best, dtype=torch.float64, device=z.device)).diff().cpu()
    logarithms = logarithms.log()
    for _ in range(rounds):
        found = least
        for k in range(steps):
            for change in (stride, -stride):
                moved = logarithms.clone()
                moved[k] += change
                times = to_times(moved)
                if (value := error(times)) < least:
                    least, best, logarithms = value, times, moved
                    break
        if found == least:
            stride /= 2
        if stride < LEAST_STRIDE:
            break
    return best
