"""Small laws with known answers, and quadrature in place of sampling: what the exact tests are built from.

All in float64. A schedule, a transform, an estimate x_hat(z, t) and a decoder are given as functions; everything else
is the platform's own `NDM`, `Model` and `Objective`.
"""

from collections.abc import Callable, Sequence
from math import e, log, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndm.decoders import Decoder
from ndm.decoders.gaussian import Gaussian
from ndm.heads import Head
from ndm.heads.x0 import X0
from ndm.model import Model
from ndm.networks import Network
from ndm.objectives import Noise, Objective, Terms
from ndm.objectives.continuous import Config as Continuous
from ndm.objectives.discrete import Config as Discrete
from ndm.processes.ndm import NDM
from ndm.registry import variant
from ndm.schedules import Schedule, ScheduleValue, variance_preserving
from ndm.transforms import Transform
from ndm.transforms.identity import Identity
from ndm.volatilities import Volatility
from ndm.volatilities.constant import Constant


class Curve(Schedule):
    """Variance-preserving, gamma(t) any increasing function of t: [B] to [B] or, per dimension, [B, D]."""

    def __init__(self, gamma: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, t: Tensor) -> ScheduleValue:
        t = t.contiguous()
        return variance_preserving(*torch.func.jvp(self.gamma, (t,), (torch.ones_like(t),)))


def schedule_of(kind: str, start: float, end: float, shape: tuple[int, ...] = (1,), **keys: Any) -> Schedule:
    """The platform's schedule of that kind with gamma from `start` to `end`."""
    return variant("ndm.schedules", kind).Config(gamma_min=start, gamma_max=end, **keys).build(shape).double()


def line(start: float, end: float) -> Schedule:
    """gamma linear from `start` to `end`."""
    return schedule_of("linear", start, end)


class Formula(Transform):
    """F(x, t) by formula; t comes shaped [B, 1]. dF/dt is the base class's, by forward mode."""

    def __init__(self, f: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.f(x, t[:, None])


class Estimate(Network):
    """x_hat(z, t) by formula; t comes shaped [B, 1]."""

    def __init__(self, x_hat: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.x_hat = x_hat

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.x_hat(x, t[:, None])


class GaussianMean(Network):
    """E[x | z_t] = alpha s2 z / (alpha^2 s2 + sigma^2) for x ~ N(0, s2) and F = identity."""

    def __init__(self, schedule: Schedule, s2: float) -> None:
        super().__init__()
        self.process, self.s2 = NDM(schedule, Identity(), Constant(1.0)), s2

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        value = self.process.at(t, x)
        return value.alpha * self.s2 * x / (value.alpha**2 * self.s2 + value.sigma**2)


class GaussianPosterior(Decoder):
    """The exact p(x | z_0) for x ~ N(0, s2) and F(x, 0) = x."""

    def __init__(self, s2: float) -> None:
        super().__init__()
        self.s2 = s2

    def encode(self, raw: Tensor) -> Tensor:
        return raw

    def decode(self, x: Tensor) -> Tensor:
        return x

    def log_prob(self, x: Tensor, z_0: Tensor, alpha_0: Tensor, sigma_0: Tensor) -> Tensor:
        total = alpha_0**2 * self.s2 + sigma_0**2
        law = torch.distributions.Normal(alpha_0 * self.s2 * z_0 / total, (self.s2 * sigma_0**2 / total).sqrt())
        return law.log_prob(x).flatten(1).sum(1)


def make(
    schedule: Schedule,
    network: Network | Callable[[Tensor, Tensor], Tensor],
    *,
    transform: Transform | None = None,
    decoder: Decoder | None = None,
    head: Head | None = None,
    eta: float | Volatility = 1.0,
    shape: tuple[int, ...] = (1,),
    process: type[NDM] = NDM,
) -> Model:
    """A Model from parts; by default F = identity, x_hat = the network's output, and the Gaussian decoder."""
    network = network if isinstance(network, Network) else Estimate(network)
    forward = process(schedule, transform or Identity(), eta if isinstance(eta, Volatility) else Constant(eta))
    return Model(forward, network, head or X0(), decoder or Gaussian(), shape).double()


def discrete(model: Model, steps: int) -> Objective:
    return Discrete(steps=steps).build(model)


def continuous(model: Model) -> Objective:
    return Continuous().build(model)


def gauss(n: int) -> tuple[Tensor, Tensor]:
    """n nodes [n, 1] and weights [n] of E over N(0, 1), exact for polynomials of degree 2n - 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return torch.from_numpy(nodes)[:, None], torch.from_numpy(weights / weights.sum())


def fine(n: int = 401, reach: float = 9.0) -> tuple[Tensor, Tensor]:
    """Equal spacing for E over N(0, 1): converges exponentially for any analytic integrand, poles or not."""
    nodes = torch.linspace(-reach, reach, n, dtype=torch.float64)
    return nodes[:, None], torch.softmax(-nodes.square() / 2, 0)


def times(objective: Objective, nodes: int) -> tuple[Tensor, Tensor]:
    """Uniforms u and weights that give the bound's average over time: every step once, or Gauss and Legendre's rule."""
    if objective.steps is not None:
        n = objective.steps
        return (torch.arange(n, dtype=torch.float64) + 0.5) / n, torch.full((n,), 1 / n, dtype=torch.float64)
    u, w = np.polynomial.legendre.leggauss(nodes)
    return torch.from_numpy((u + 1) / 2), torch.from_numpy(w / 2)


@torch.no_grad()
def expected(objective: Objective, x: Tensor, noise: tuple[Tensor, Tensor], nodes: int = 200) -> Terms:
    """E of the bound's terms over time and noise for each x: [N, D]; each term [N].

    `noise`: nodes [E, D] and weights [E], used for epsilon and epsilon_0 alike, which never occur in one term.
    """
    u, w = times(objective, nodes)
    epsilon, v = noise
    sums = [torch.zeros(len(x), dtype=torch.float64) for _ in Terms._fields]
    portion = max(1, 500_000 // (len(x) * len(epsilon)))
    for some, weight in zip(u.split(portion), w.split(portion), strict=True):
        shape = (len(x), len(some), len(epsilon))
        rows = x[:, None, None].expand(*shape, -1).reshape(-1, x.shape[1])
        e_rows = epsilon.expand(*shape, -1).reshape(-1, x.shape[1])
        u_rows = some[:, None].expand(shape).reshape(-1)
        for total, term in zip(sums, objective(rows, Noise(u_rows, e_rows, e_rows)), strict=True):
            total += torch.einsum("nte,t,e->n", term.reshape(shape), weight, v)
    return Terms(*sums)


@torch.no_grad()
def empirical(objective: Objective, x: Tensor, epsilon: Tensor, nodes: int = 200) -> float:
    """Mean of the diffusion term over pairs (x_i, epsilon_i), each followed over all times.

    Every identity between discrete and continuous time holds for any joint law of (x, epsilon), this one too.
    """
    u, w = times(objective, nodes)
    total = 0.0
    for some, weight in zip(u.split(200), w.split(200), strict=True):
        n = len(some)
        draws = Noise(some.repeat_interleave(len(x)), epsilon.repeat(n, 1), epsilon.repeat(n, 1))
        total += float((weight[:, None] * objective(x.repeat(n, 1), draws).diffusion.reshape(n, -1)).sum())
    return total / len(x)


S2 = 1.5**2
"""Variance of the Gaussian data that most identities are checked on."""
SCHEDULE = line(-8, 8)


def gaussian_bound(objective: Objective) -> dict[str, float]:
    """Terms averaged over x ~ N(0, S2) and the noise: exact where x_hat is linear in z, as all is quadratic then."""
    x, p = gauss(3)
    return {name: float(p @ term) for name, term in expected(objective, S2**0.5 * x, gauss(3))._asdict().items()}


def normal_entropy(variance: float) -> float:
    """Differential entropy of N(., variance) in nats."""
    return log(2 * pi * e * variance) / 2


def normal_kl(variance: float) -> float:
    """KL(N(0, variance) || N(0, 1)) in nats."""
    return (variance - 1 - log(variance)) / 2


def ends(model: Model) -> tuple[ScheduleValue, ScheduleValue]:
    """The schedule at t = 0 and at t = 1, scalars shaped [1, 1]."""
    both = model.process.at(torch.tensor([0.0, 1.0], dtype=torch.float64), torch.zeros(2, 1))
    return ScheduleValue(*(v[:1] for v in both)), ScheduleValue(*(v[1:] for v in both))


class Atoms:
    """Data on K points, so that the posterior of x given z_t is a softmax and every oracle is exact."""

    def __init__(self, process: NDM, x: Tensor, p: Tensor) -> None:
        self.process, self.x, self.p = process, x, p

    def dual(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(F, dF/dt) of every atom at times t: [B], each [B, K]."""
        k = len(self.x)
        f, d_f = self.process.transform.dual(self.x.repeat(len(t), 1), t.repeat_interleave(k))
        return f.reshape(-1, k), d_f.reshape(-1, k)

    def log_joint(self, z: Tensor, t: Tensor) -> Tensor:
        """ln p_k q(z_t = z | x_k), [B, K], for z: [B, 1]."""
        value = self.process.at(t, z)
        law = torch.distributions.Normal(value.alpha * self.dual(t)[0], value.sigma)
        return self.p.log() + law.log_prob(z)

    def log_density(self, z: Tensor, t: Tensor) -> Tensor:
        """ln q(z_t = z), [B]."""
        return torch.logsumexp(self.log_joint(z, t), 1)

    def posterior(self, z: Tensor, t: Tensor) -> Tensor:
        """P(x = x_k | z_t = z), [B, K]."""
        return torch.softmax(self.log_joint(z, t), 1)

    def x_hat(self, z: Tensor, t: Tensor) -> Tensor:
        """E[x | z_t], [B, 1], for t: [B]."""
        return self.posterior(z, t) @ self.x

    def oracle(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(E[F | z_t], E[dF/dt | z_t]), each [B, 1]: what the best drift is made of."""
        weights, (f, d_f) = self.posterior(z, t), self.dual(t)
        return (weights * f).sum(1, keepdim=True), (weights * d_f).sum(1, keepdim=True)

    def path(self, z: Tensor, t: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        """[E[F(x, s) | z_t] for s in times], each [B, 1]."""
        weights = self.posterior(z, t)
        return [(weights * self.dual(s)[0]).sum(1, keepdim=True) for s in times]

    def entropy(self) -> float:
        """H(x) in nats."""
        return float(-(self.p * self.p.log()).sum())

    def information(self, t: float) -> float:
        """I(x; z_t) in nats, by quadrature over the noise."""
        epsilon, v = fine(2001)
        time = torch.full((len(epsilon),), t, dtype=torch.float64)
        value, f = self.process.at(time, epsilon), self.dual(time)[0]
        gain = 0.0
        for k, p in enumerate(self.p):
            z = value.alpha * f[:, k : k + 1] + value.sigma * epsilon
            gain += float(p * (v * (self.log_joint(z, time)[:, k] - p.log() - self.log_density(z, time))).sum())
        return gain

    def end_kl(self) -> float:
        """KL(q(z_1) || N(0, 1)) in nats."""
        z = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
        log_q = self.log_density(z, torch.ones(len(z), dtype=torch.float64))
        log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z[:, 0])
        return float((log_q.exp() * (log_q - log_p)).sum() * (z[1, 0] - z[0, 0]))


class Oracle(Model):
    """The best model that is not held to one x_hat: its (F, dF/dt) is the posterior mean given z_t."""

    def __init__(self, law: Atoms, decoder: Decoder) -> None:
        made = make(law.process.schedule, lambda z, t: z, transform=law.process.transform, decoder=decoder)
        super().__init__(law.process, made.network, made.head, made.decoder, (1,))
        self.law = law

    def dual(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.law.oracle(z, t)

    def path(self, z: Tensor, t: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        return self.law.path(z, t, times)


def three_atoms(process: NDM) -> Atoms:
    """Atoms -1.2, 0.1, 0.9 with probabilities 0.2, 0.5, 0.3."""
    x = torch.tensor([[-1.2], [0.1], [0.9]], dtype=torch.float64)
    return Atoms(process, x, torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64))


def bend(x: Tensor, t: Tensor) -> Tensor:
    """F(x, t) = (1 - t) x + t tanh(2x + sin 3t): a transform that is far from affine."""
    return (1 - t) * x + t * torch.tanh(2 * x + torch.sin(3 * t))
