"""How straight the paths of a flow dz/dt = u(z, t) are that lead from z_1 ~ N(0, I) to z_0, and how far.

With the chord c = z_1 - z_0 of a path and |.| the Euclidean norm:

    cost          E |c|^2: what the transport of z_1 to z_0 costs
    straightness  E int_0^1 |u(z_t, t) - c|^2 dt / E |c|^2: 0 only if all paths are chords at constant speed, of which
                  one step of Euler's method is exact (Liu, Gong, Liu, Flow Straight and Fast, arXiv 2209.03003, there
                  without the division)
    length        E int_0^1 |u(z_t, t)| dt / E |c|: 1 only if all paths are chords, at whatever speed

So the second also sees the schedule, and the third only the curve. Ratios of means, because a path that ends near where
it began would rule a mean of ratios.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""u(z, t) of z: [B, *shape] and t: [B]."""


class Paths(NamedTuple):
    """Solutions at equally spaced times from 0 to 1."""

    t: Tensor
    """[K + 1], float64."""
    z: Tensor
    """[K + 1, B, *shape], float64."""
    u: Tensor
    """The velocity there, of the same shape."""


class Shape(NamedTuple):
    """Values of each path, [B]; the mean of each is the number, and their standard error its own to first order."""

    cost: Tensor
    straightness: Tensor
    length: Tensor


@torch.no_grad()
def follow(velocity: Velocity, z_1: Tensor, steps: int) -> Paths:
    """The paths that end in z_1: [B, *shape], by the classical Runge-Kutta method of order 4 from t = 1 to t = 0.

    4 steps + 1 evaluations, in the type of z_1; what lies between them is float64.
    """
    t = torch.linspace(1, 0, steps + 1, dtype=torch.float64, device=z_1.device)

    def u(z: Tensor, at: Tensor) -> Tensor:
        return velocity(z.to(z_1.dtype), at.to(z_1.dtype).expand(len(z))).double()

    z = z_1.double()
    points, slopes = [z], [u(z, t[0])]
    for now, then in pairwise(t):
        h, middle = then - now, (now + then) / 2
        first = slopes[-1]
        second = u(z + h / 2 * first, middle)
        third = u(z + h / 2 * second, middle)
        fourth = u(z + h * third, then)
        z = z + h / 6 * (first + 2 * second + 2 * third + fourth)
        points.append(z)
        slopes.append(u(z, then))
    return Paths(*(torch.stack(values).flip(0) for values in (list(t), points, slopes)))


def shape(paths: Paths) -> Shape:
    """What the paths cost and how straight they are, by Simpson's rule on an even number of steps."""
    assert len(paths.t) % 2
    weights = torch.ones_like(paths.t)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    weights = weights / weights.sum()
    chord = (paths.z[-1] - paths.z[0]).flatten(1).norm(dim=1)
    length = torch.einsum("k,kb->b", weights, paths.u.flatten(2).norm(dim=2))
    off_course = torch.einsum("k,kb->b", weights, deviation(paths))
    return Shape(chord.square(), ratio(off_course, chord.square()), ratio(length, chord))


def deviation(paths: Paths) -> Tensor:
    """|u(z_t, t) - c|^2 at every time: [K + 1, B]."""
    return (paths.u - (paths.z[-1] - paths.z[0])).flatten(2).square().sum(2)


def ratio(over: Tensor, under: Tensor) -> Tensor:
    """Values of [..., B] whose mean over the last dimension is mean(over) / mean(under), R = E a / E b.

    They are R + (a - R b) / E b, by linearisation, so that their standard error is that of the ratio to first order,
    and the paired difference of two ratios on the same paths has the error that it should have.
    """
    whole = under.mean(-1, keepdim=True)
    found = over.mean(-1, keepdim=True) / whole
    return found + (over - found * under) / whole
