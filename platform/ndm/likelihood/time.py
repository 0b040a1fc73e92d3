"""From which times the continuous bound is estimated: t of density q, and the diffusion term divided by q(t).

Any q > 0 on (0, 1) leaves the bound unbiased. The variance is least for q(t) proportional to the root of the term's
second moment. Times are an increasing function of one uniform u, so strata of u are strata of t.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ndm.model import Model
from ndm.objectives import Noise, Objective
from ndm.randomness import Stream


class Proposal(ABC):
    """A density of times, drawn from by its inverse CDF."""

    @abstractmethod
    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """(t, q(t)), both [B], for u: [B] in [0, 1)."""


@dataclass(frozen=True)
class Uniform(Proposal):
    """q(t) = 1."""

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return u, torch.ones_like(u)


@dataclass(frozen=True)
class Logistic(Proposal):
    """q(t) proportional to sigmoid(c - g(t)), g(t) = gamma_0 + (gamma_1 - gamma_0) t, c = ln of the data's variance.

    For normal data of variance e^c, F = identity, eta = 1 and gamma linear, the optimal denoiser's term is
    e^-gamma gamma' / 2 mmse = gamma' / 2 sigmoid(c - gamma), so its expectation is constant over u. The integral of
    sigmoid(c - g) is -softplus(c - g), hence with Z = softplus(c - gamma_0) - softplus(c - gamma_1) the CDF is
    u = (softplus(c - gamma_0) - y) / Z, y = softplus(c - g), and its inverse g = c - y - ln(1 - e^-y). At large gamma q
    falls as e^-gamma, no faster than the term of a bounded x_hat: weights stay bounded.
    """

    gamma_0: float
    gamma_1: float
    log_variance: float = 0.0

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        c, gap = self.log_variance, self.gamma_1 - self.gamma_0
        first, last = (softplus(u.new_tensor(c - gamma)) for gamma in (self.gamma_0, self.gamma_1))
        y = first - u * (first - last)
        g = c - y - torch.log(-torch.expm1(-y))
        t = ((g - self.gamma_0) / gap).clamp(0, 1)
        return t, gap * torch.sigmoid(c - self.gamma_0 - gap * t) / (first - last)


@dataclass(frozen=True)
class Histogram(Proposal):
    """q constant on equal bins of t, proportional to `weights`."""

    weights: tuple[float, ...]

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        share = u.new_tensor(self.weights)
        share = share / share.sum()
        ends = share.cumsum(0)
        index = torch.searchsorted(ends, u, right=True).clamp(max=len(share) - 1)
        t = (index + (u - ends[index] + share[index]) / share[index]) / len(share)
        return t.clamp(0, 1), share[index] * len(share)


UNIFORM = Uniform()
BINS = 32
LEAST = 0.1
"""Share of the adaptive proposal that is uniform, so that no time is missed for want of a pilot's luck."""


@torch.no_grad()
def logistic(model: Model, x: Tensor) -> Logistic:
    """The closed form for a model's schedule and the variance of images x: [B, *shape], B > 1."""
    ends = model.process.at(torch.tensor([0.0, 1.0], dtype=x.dtype, device=x.device), x[:2])
    gamma = ends.gamma.flatten(1).mean(1)
    return Logistic(float(gamma[0]), float(gamma[1]), math.log(float(x.square().mean())))


@torch.no_grad()
def adaptive(objective: Objective, x: Tensor, first_id: int, *, seed: int, draws: int = 2) -> Histogram:
    """The histogram of the root mean square of the diffusion term, from `draws` per image and bin on the images x.

    The draws are its own, so a bound that uses the histogram is unbiased, on these images too. Find it once and hand it
    to every task, as its few numbers.
    """
    squares = torch.zeros(BINS, dtype=torch.float64)
    for i in range(BINS * draws):
        within = Stream(seed, "elbo/pilot/time", i).uniform(first_id, len(x)).to(x.device)
        epsilon = Stream(seed, "elbo/pilot/epsilon", i).normal(first_id, len(x), tuple(x.shape[1:]), x.dtype)
        noise = Noise((i % BINS + within) / BINS, *[epsilon.to(x.device)] * 2)
        squares[i % BINS] += objective(x, noise).diffusion.double().square().mean().cpu()
    height = squares.sqrt()
    share = (1 - LEAST) * height / height.sum() + LEAST / BINS
    return Histogram(tuple(float(s) for s in share))
