"""Averages of the weights with power-function profiles, of chosen relative widths, beside the constant decay.

Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models (arXiv 2312.02696), section 3. The
average after step T weighs the weights of step t like t^gamma; relative to T the profile always looks the same. Its
width is the standard deviation of t / T under it, sigma_rel, between 0 and 1 / sqrt(12).
"""

from collections.abc import Iterable
from math import sqrt

import torch
from torch import Tensor, nn

from ndm.errors import UserError

NARROWEST, WIDEST = 0.01, 0.28
"""The range of widths, from gamma = 97 to 0.1; at sqrt(1 / 12) = 0.289 the average is the plain mean of all steps."""
NEWTON_STEPS = 60  # from sqrt(t) above the root it takes 5 to 8 in that range


def exponent(width: float) -> float:
    """gamma >= 0 of the profile of relative width 0 < width <= 1 / sqrt(12): `relative_width` inverted.

    With u = gamma + 2 and t = width^-2 it is the largest root of u^3 + u^2 - t u + t (the paper's algorithm 2 has the
    cubic in gamma). At sqrt(t) the cubic is positive and from there to the root convex, so Newton only comes closer.
    """
    t = width**-2
    u = sqrt(t)
    for _ in range(NEWTON_STEPS):
        u -= (u**3 + u**2 - t * u + t) / (3 * u**2 + 2 * u - t)
    return max(u - 2, 0.0)


def relative_width(gamma: float) -> float:
    """sigma_rel = sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2): that of the density (gamma + 1) t^gamma on [0, 1]."""
    return sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def part_name(width: float) -> str:
    """The name of the average of a width among the tensors of a checkpoint."""
    return f"ema_{width:.3f}"


def width_of(part: str) -> float | None:
    """The width whose average has that name, or None for other parts."""
    stem, _, width = part.partition("_")
    return float(width) if stem == "ema" and width else None


class Profiles:
    """One average of the weights for each width; only for evaluation, without influence on the training.

    After step t the average moves by 1 - (1 - 1/t)^(gamma + 1) towards the weights, which is all of the way for t = 1:
    after step T the weights of step t count (t^(gamma + 1) - (t - 1)^(gamma + 1)) / T^(gamma + 1).
    """

    def __init__(self, module: nn.Module, widths: Iterable[float]) -> None:
        widths = tuple(widths)
        self.powers = {width: exponent(width) + 1 for width in widths}
        self.averages = {
            width: {name: weight.detach().clone() for name, weight in module.named_parameters()} for width in widths
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Follow the weights after optimiser step `step` (1, 2, ...)."""
        for width, averages in self.averages.items():
            decay = (1 - 1 / step) ** self.powers[width]
            for name, weight in module.named_parameters():
                averages[name].lerp_(weight, 1 - decay)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """{"ema_0.050": name -> average, ...}; they are the profiles' own: the next step changes them."""
        return {part_name(width): dict(averages) for width, averages in self.averages.items()}

    def load(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """Take over a copy of what `tensors()` gave, among other parts.

        Raises:
            UserError: a width was not tracked from the start, so its average cannot be had any more.
            RuntimeError: names or shapes are not those of the weights.
        """
        for width, averages in self.averages.items():
            if part_name(width) not in tensors:
                known = sorted(found for name in tensors if (found := width_of(name)) is not None)
                raise UserError(
                    f"monitor.ema_widths asks for {width}, which this run did not average from its start (it has "
                    f"{', '.join(map(str, known)) or 'none'}); give those, or start afresh with --fresh."
                )
            found = tensors[part_name(width)]
            if {name: value.shape for name, value in found.items()} != {n: a.shape for n, a in averages.items()}:
                raise RuntimeError(f"{part_name(width)} is no average of these weights")
            for name, average in averages.items():
                average.copy_(found[name])
