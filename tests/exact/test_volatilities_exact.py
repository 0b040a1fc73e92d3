"""eta(t) that is no constant: what it costs, where it is tight, what learning finds, and that no marginal notices.

x ~ N(0, 1.5^2) with the optimal denoiser, so that every term is a quadratic of Gaussians.
"""

from math import exp, log

import numpy as np
import pytest
import torch
from benches import (
    S2,
    SCHEDULE,
    Curve,
    GaussianPosterior,
    continuous,
    discrete,
    ends,
    expected,
    gauss,
    gaussian_bound,
    line,
    make,
    normal_entropy,
    normal_kl,
    schedule_of,
)
from scipy.integrate import quad

from ndm.networks import Network
from ndm.objectives import Noise
from ndm.sampling import _reverse, ancestral
from ndm.sampling.ancestral import Ancestral
from ndm.sampling.sde import EulerMaruyama
from ndm.sampling.stochastic_heun import StochasticHeun
from ndm.transforms import scale
from ndm.transforms.identity import Identity
from ndm.volatilities import Volatility, learned, matched
from ndm.volatilities.constant import Constant


class Wave(Volatility):
    """eta(t) = exp(sin 5t): between 0.4 and 2.7, on both sides of 1."""

    def forward(self, t, value):
        return torch.exp(torch.sin(5 * t)).reshape(-1, *[1] * (value.gamma.ndim - 1)).expand_as(value.gamma)


class Mean(Network):
    """E[x | z_t] for F = a(t) x and x ~ N(0, S2) in each dimension."""

    def __init__(self, schedule, transform):
        super().__init__()
        self.schedule, self.transform = schedule, transform

    def forward(self, x, t):
        value, one = self.schedule(t), torch.ones_like(x)
        alpha = value.alpha[:, None] * self.transform(one, t)
        return alpha * S2 * x / (alpha**2 * S2 + value.sigma[:, None] ** 2)


def gaussian(schedule=SCHEDULE, transform=None, eta=1.0, shape=(1,)):
    transform = transform or Identity()
    network = Mean(schedule, transform)
    return make(schedule, network, transform=transform, decoder=GaussianPosterior(S2), eta=eta, shape=shape)


def scaled(*c):
    """F = exp(sum c_k b_k(t)) x, not trained."""
    transform = scale.Config(degree=len(c)).build((1,)).double().requires_grad_(False)
    transform.c += torch.tensor(c, dtype=torch.float64).reshape(transform.c.shape)
    return transform


def entropy_and_end(model):
    """H(x) + KL(q(z_1), N(0, 1)): what a tight bound comes to."""
    end, one = ends(model)[1], torch.ones(1, 1, dtype=torch.float64)
    a = float(model.process.transform(one, torch.ones(1, dtype=torch.float64)))
    return normal_entropy(S2) + normal_kl(float(end.alpha**2 * a**2 * S2 + end.sigma**2))


@pytest.mark.parametrize("kind", ["linear", "cosine", "straight", "linear_beta"])
def test_every_moment_costs_its_own_factor(kind):
    """With I' = gamma' s2 / (e^gamma + s2) / 2, the information lost, L_diff = int (1 + eta)^2 / (4 eta) I' dt."""
    schedule = schedule_of(kind, -8, 8)

    def rate(t):
        value = schedule(torch.tensor(t, dtype=torch.float64))
        eta = exp(np.sin(5 * t))
        return (1 + eta) ** 2 / (4 * eta) * float(value.d_gamma * S2 / (value.gamma.exp() + S2)) / 2

    total = quad(rate, 0, 1, epsrel=1e-11, limit=400)[0]
    assert gaussian_bound(continuous(gaussian(schedule, eta=Wave())))["diffusion"] == pytest.approx(total, rel=1e-9)
    assert total > 1.02 * gaussian_bound(continuous(gaussian(schedule)))["diffusion"]


@pytest.mark.parametrize("c", [(3.0, -2.0), (-4.0, 1.0, 0.5)])
def test_matched_volatility_makes_the_bound_of_scaled_data_tight(c):
    """g^2 = sigma^2 gamma_eff' leaves no gap; the nominal one leaves int [(1 + e)^2 / (4 e) - 1] I_eff' dt.

    Here e = gamma' / gamma_eff', and I_eff' = gamma_eff' s2 / (e^gamma_eff + s2) / 2.
    """
    transform = scaled(*c)
    model = gaussian(transform=transform, eta=matched.Config().build(transform, (1,)))
    tight = entropy_and_end(model)
    assert sum(gaussian_bound(continuous(model)).values()) == pytest.approx(tight, abs=1e-10)

    def excess(t):
        a, d_a = (float(v) for v in transform.multiplier(torch.tensor([t], dtype=torch.float64)))
        d_gamma = 16 - 2 * d_a / a
        e = 16 / d_gamma
        rate = d_gamma * S2 / (exp(-8 + 16 * t - 2 * log(a)) + S2) / 2
        return ((1 + e) ** 2 / (4 * e) - 1) * rate

    gap = quad(excess, 0, 1, epsabs=1e-13)[0]
    assert gap > 1e-3
    found = sum(gaussian_bound(continuous(gaussian(transform=transform))).values())
    assert found - tight == pytest.approx(gap, abs=1e-10)


def test_matched_volatility_follows_each_dimension():
    """A multiplier for each dimension has an eta for each, and the bound is the sum of their tight ones."""
    slopes = (3.0, -4.0, 0.0)
    transform = scale.Config(degree=1, per="dimension").build((3,)).double().requires_grad_(False)
    transform.c += torch.tensor([slopes], dtype=torch.float64)
    model = gaussian(transform=transform, eta=matched.Config().build(transform, (3,)), shape=(3,))
    x, p = gauss(3)  # the same nodes in all dimensions: terms are sums over them
    terms = expected(continuous(model), S2**0.5 * x.expand(3, 3), (x.expand(3, 3), p))
    tight = sum(entropy_and_end(gaussian(transform=scaled(c))) for c in slopes)
    assert sum(float(p @ term) for term in terms) == pytest.approx(tight, abs=1e-10)


COEFFICIENTS = (-1.5, 1.0)
"""c_0 and c_1 of the matched ln eta below."""


def bending():
    """(schedule, F) whose matched volatility is ln eta = c_0 + c_1 t, which `learned` can be.

    F = e^(2t) x asks for eta = 1 - 4 / gamma', so gamma' = 4 / (1 - e^u), u = c_0 + c_1 t: gamma = 4 (u - ln(1 - e^u)).
    """
    c_0, c_1 = COEFFICIENTS

    def gamma(t):
        u = c_0 + c_1 * t
        return 4 / c_1 * (u - torch.log(-torch.expm1(u)))

    return Curve(gamma), scaled(2.0)


def average(model, nodes=24):
    """The bound's mean, with gradients: three nodes for x and for the noise are exact."""
    (x, p), (epsilon, v) = gauss(3), gauss(3)
    u, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(nodes))
    weight = torch.einsum("t,n,e->tne", w / 2, p, v).reshape(-1)
    grid = torch.cartesian_prod((u + 1) / 2, S2**0.5 * x[:, 0], epsilon[:, 0])
    t, rows, noise = grid[:, 0], grid[:, 1:2], grid[:, 2:3]
    return weight @ continuous(model)(rows, Noise(t, noise, noise)).total


def test_learning_finds_the_matched_volatility():
    """The bound's gradient in the coefficients of ln eta vanishes where eta is matched, and descent leads there."""
    schedule, transform = bending()
    eta = learned.Config(degree=2).build(transform, (1,)).double()
    model = gaussian(schedule, transform, eta)
    best = torch.tensor([*COEFFICIENTS, 0.0], dtype=torch.float64)
    tight = entropy_and_end(model)

    def coefficients():
        return torch.cat([eta.c_0.detach().flatten(), eta.c.detach().flatten()])

    def gradient():
        value = average(model)
        return float(value.detach()), torch.cat([g.flatten() for g in torch.autograd.grad(value, [eta.c_0, eta.c])])

    with torch.no_grad():
        eta.c_0 += COEFFICIENTS[0]
        eta.c[0] += COEFFICIENTS[1]
    value, slope = gradient()
    assert value == pytest.approx(tight, abs=1e-8)
    assert slope.abs().max() < 1e-8

    with torch.no_grad():
        eta.c_0.zero_()
        eta.c.zero_()
    value, slope = gradient()
    assert value > tight + 0.01
    assert slope.abs().max() > 0.01
    away = float((coefficients() - best).norm())
    for _ in range(12):
        with torch.no_grad():
            eta.c_0 -= slope[0]
            eta.c -= slope[1:].reshape(eta.c.shape)
        lower, slope = gradient()
        assert tight < lower < value
        value = lower
    assert float((coefficients() - best).norm()) < 0.8 * away
    optimiser = torch.optim.LBFGS(
        [eta.c_0, eta.c], lr=1, max_iter=25, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        value = average(model)
        value.backward()
        return value

    optimiser.step(closure)
    torch.testing.assert_close(coefficients(), best, rtol=0, atol=1e-3)


def test_steps_with_a_moving_volatility_tend_to_the_continuous_bound():
    """A step takes eta(t) at its later time: with twice the steps half the difference is left."""
    transform = scaled(2.0, -1.0)
    model = gaussian(line(-4, 4), transform, Wave())
    limit = gaussian_bound(continuous(model))["diffusion"]
    off = [gaussian_bound(discrete(model, steps))["diffusion"] - limit for steps in (400, 800, 1600)]
    assert abs(off[0]) < 0.05 * limit
    assert off[0] / off[1] == pytest.approx(2, abs=0.1)
    assert off[1] / off[2] == pytest.approx(2, abs=0.05)


def test_the_longest_step_an_eta_allows_has_gradients():
    """Where v would exceed sigma_s^2 it stays there and the later latent says nothing: no infinity on the way back."""
    schedule = schedule_of("learned", -6, 5, learn_endpoints=True)
    model = make(schedule, lambda z, t: z / 2, eta=Constant(1.5))
    noise = torch.linspace(-1, 1, 4, dtype=torch.float64)[:, None]
    terms = discrete(model, 2)(noise, Noise(torch.linspace(0.1, 0.9, 4, dtype=torch.float64), noise, noise))
    for gradient in torch.autograd.grad(terms.total.sum(), [p for p in schedule.parameters() if p.requires_grad]):
        assert gradient.isfinite().all()


class Impulses:
    """Stands for `Stream`: row i + 1 of the normals of step i is one, all others zero."""

    def __init__(self, seed, name, position):
        del seed, name
        self.row = position + 1

    def normal(self, first, count, shape, dtype):
        del first
        unit = torch.zeros(count, *shape, dtype=dtype)
        unit[self.row] = 1
        return unit


@torch.no_grad()
def variance_at_zero(model, sampler, monkeypatch):
    """Variance of z_0 from z_1 ~ q(z_1): the sampler is linear here, so it is the sum of squared responses."""
    for module in (_reverse, ancestral):
        monkeypatch.setattr(module, "Stream", Impulses)
    z = torch.zeros(sampler.steps + 1, 1, dtype=torch.float64)
    z[0] = 1
    response = sampler.run(model, z, 0, 0).z[:, 0]
    end, a = ends(model)[1], model.process.transform(torch.ones(1, 1).double(), torch.ones(1).double())
    return float((end.alpha * a) ** 2 * S2 + end.sigma**2) * float(response[0] ** 2) + float(
        response[1:] @ response[1:]
    )


@pytest.mark.parametrize(("kind", "order"), [(EulerMaruyama, 1), (Ancestral, 1), (StochasticHeun, 2)])
@pytest.mark.parametrize("eta", ["wave", "matched", "learned"])
def test_samplers_without_an_eta_keep_the_marginals_at_the_process_s_own(kind, order, eta, monkeypatch):
    """Var z_0 tends to alpha_0^2 s2 + sigma_0^2, at the sampler's order, whatever eta(t) the process has."""
    transform = scaled(1.5, -1.0)
    volatility = {"wave": Wave, "matched": lambda: matched.Config().build(transform, (1,)), "learned": moved}[eta]()
    model = gaussian(line(-4, 4), transform, volatility)
    start = ends(model)[0]
    exact = float(start.alpha**2 * S2 + start.sigma**2)
    off = [variance_at_zero(model, kind(steps, None), monkeypatch) - exact for steps in (80, 160)]
    assert abs(off[-1]) < (0.12 if order == 1 else 1e-3) * exact
    assert abs(off[0] / off[1]) > 0.75 * 2**order


def moved():
    """A learned volatility away from its start."""
    eta = learned.Config(degree=2).build(Identity(), (1,)).double().requires_grad_(False)
    eta.c_0 += 0.3
    eta.c += torch.tensor([[-1.0], [0.4]], dtype=torch.float64)
    return eta


@pytest.mark.parametrize("kind", [EulerMaruyama, StochasticHeun, Ancestral])
@torch.no_grad()
def test_samplers_without_an_eta_take_the_process_s_own(kind):
    """A constant one is the same as that eta given, to the bit; and another than one it is not."""
    model = gaussian(eta=0.6)
    z = torch.linspace(-2, 2, 7, dtype=torch.float64)[:, None]
    own, given, nominal = (kind(9, eta).run(model, z, 0, 0).z for eta in (None, 0.6, 1.0))
    torch.testing.assert_close(own, given, rtol=1e-12, atol=1e-12)
    assert (own - nominal).abs().max() > 0.01
