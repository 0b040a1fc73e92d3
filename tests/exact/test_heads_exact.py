"""The three kinds of heads on three atoms and a transform far from affine, where the best estimate of each is known.

The best drift needs E[tau | z_t] and no more; the pair E[F | z_t], E[dF/dt | z_t] gives it too, an x_hat does not.
"""

import pytest
import torch
from benches import (
    Atoms,
    Curve,
    Formula,
    Oracle,
    bend,
    continuous,
    discrete,
    expected,
    fine,
    line,
    make,
    three_atoms,
)

from ndm import presets
from ndm.decoders.gaussian import Gaussian
from ndm.errors import UserError
from ndm.likelihood.ode import log_density
from ndm.model import NO_PAIR
from ndm.networks import Network
from ndm.objectives import Noise
from ndm.processes.ndm import NDM
from ndm.registry import kinds, variant
from ndm.sampling import ReverseConfig
from ndm.volatilities import Volatility
from ndm.volatilities.constant import Constant

SCHEDULE = line(-4, 4)


class Rising(Volatility):
    """eta(t) = 1/2 + t."""

    def forward(self, t, value):
        return (0.5 + t).reshape(-1, *[1] * (value.gamma.ndim - 1)).expand_as(value.gamma)


VOLATILITIES = {"nominal": lambda: Constant(1.0), "low": lambda: Constant(0.4), "rising": Rising}


def atoms(volatility="nominal") -> Atoms:
    return three_atoms(NDM(SCHEDULE, Formula(bend), VOLATILITIES[volatility]()))


class Best(Network):
    """The very outputs that make a head say what is best: E[F | z_t] and E[dF/dt | z_t], or E[tau | z_t]."""

    def __init__(self, law: Atoms, kind: str) -> None:
        super().__init__()
        self.law, self.kind = law, kind

    def forward(self, x, t):
        process = self.law.process
        value, (f, d_f) = process.at(t, x), self.law.oracle(x, t)
        if self.kind == "drift":
            eta = process.eta(t, value)
            f = process.tau(f, d_f, value, eta) * 2 / (1 + eta)
        v = (value.alpha * x - f) / value.sigma  # variance is preserved
        return torch.cat([v, d_f], 1) if self.kind == "direct" else v


def with_head(law: Atoms, kind: str):
    """The model that has this head and the outputs it is best with."""
    head = variant("ndm.heads", kind).Config().build()
    process = law.process
    return make(SCHEDULE, Best(law, kind), transform=process.transform, head=head, eta=process.volatility)


def through_x(law: Atoms):
    """The model of the paper with x_hat = E[x | z_t]."""
    process = law.process
    x_hat = lambda z, t: law.x_hat(z, t[:, 0])  # noqa: E731
    return make(SCHEDULE, x_hat, transform=process.transform, eta=process.volatility)


def diffusion(model, law: Atoms, steps=None, noise=None):
    objective = continuous(model) if steps is None else discrete(model, steps)
    return float(law.p @ expected(objective, law.x, noise or fine(), nodes=60).diffusion)


@pytest.mark.parametrize("volatility", VOLATILITIES)
def test_pair_and_drift_lose_the_same_and_x_hat_more(volatility):
    """I(x; z_0) - I(x; z_1) < L_diff of the best tau = that of the best pair < that of the best x_hat."""
    law = atoms(volatility)
    lost = law.information(0.0) - law.information(1.0)
    best = diffusion(Oracle(law, Gaussian()), law)
    assert lost < best - 0.003
    for kind in ("direct", "drift"):
        assert diffusion(with_head(law, kind), law) == pytest.approx(best, rel=1e-10)
    assert best < diffusion(through_x(law), law) - 0.005


@pytest.mark.parametrize("kind", ["direct", "drift"])
def test_no_other_outputs_are_better(kind):
    """The bound is a square around E[tau | z_t]: any change of the outputs costs the square of what it does to tau."""
    law = atoms("rising")
    model = with_head(law, kind)
    least = diffusion(model, law)
    outputs = model.network.forward
    costs = []
    for size in (-0.02, -0.01, 0.01, 0.02):
        model.network.forward = lambda x, t, size=size: outputs(x, t) + size * torch.cos(3 * x + t[:, None])
        costs.append(diffusion(model, law) - least)
    assert costs[1] > 1e-6
    assert costs == pytest.approx([4 * costs[1], costs[1], costs[1], 4 * costs[1]], rel=1e-6)


def test_steps_of_the_pair_tend_to_its_continuous_bound():
    """A step takes F_hat at s from the pair at t by its tangent: with twice the steps half the difference is left."""
    law = atoms()
    model, noise = with_head(law, "direct"), fine(121)
    limit = diffusion(model, law, noise=noise)
    off = [diffusion(model, law, steps, noise) - limit for steps in (100, 200)]
    assert abs(off[0]) < 0.1 * limit
    assert off[0] / off[1] == pytest.approx(2, abs=0.1)


def test_pair_follows_the_flow_of_the_data():
    """The velocity of the direct head is the oracle's, E[u | z_t], for any volatility."""
    law = atoms("rising")
    z, t = torch.linspace(-2, 2, 30, dtype=torch.float64)[:, None], torch.linspace(0, 1, 30, dtype=torch.float64)
    found, wanted = with_head(law, "direct").velocity(z, t), Oracle(law, Gaussian()).velocity(z, t)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", ["direct", "drift"])
def test_reverse_drift_is_the_best_at_the_process_s_own_volatility(kind):
    law = atoms("rising")
    z, t = torch.linspace(-2, 2, 30, dtype=torch.float64)[:, None], torch.linspace(0, 1, 30, dtype=torch.float64)
    value = law.process.at(t, z)
    wanted = law.process.reverse_drift(z, *law.oracle(z, t), value, law.process.eta(t, value))
    torch.testing.assert_close(with_head(law, kind).reverse_drift(z, t), wanted, rtol=1e-11, atol=1e-10)


# The drift alone


def drift():
    return with_head(atoms(), "drift")


Z, T = torch.linspace(-1, 1, 3, dtype=torch.float64)[:, None], torch.full((3,), 0.5, dtype=torch.float64)
ASKED = {
    "velocity": lambda model: model.velocity(Z, T),
    "pair": lambda model: model.dual(Z, T),
    "path": lambda model: model.path(Z, T, (T, T / 2)),
    "another volatility": lambda model: model.reverse_drift(Z, T, 0.5),
    "its own volatility by number": lambda model: model.reverse_drift(Z, T, 1.0),
    "a discrete step": lambda model: discrete(model, 3)(Z, Noise(T, Z, Z)),
    "the likelihood of the ODE": lambda model: log_density(model, Z, tolerance=1e-3),
}
SAMPLERS = {
    kind: variant("ndm.sampling", kind).Config().build(3)
    for kind in kinds("ndm.sampling")
    if not issubclass(variant("ndm.sampling", kind).Config, ReverseConfig)
}
ASKED |= {kind: lambda model, s=sampler: s.run(model, Z, 0, 0) for kind, sampler in SAMPLERS.items()}


@pytest.mark.parametrize("what", ASKED)
def test_a_drift_alone_gives_no_more_than_it_is(what):
    with pytest.raises(UserError) as caught:
        ASKED[what](drift())
    assert str(caught.value) == NO_PAIR


def test_a_drift_alone_is_sampled_by_the_reverse_sde():
    """And what it draws is what the pair draws, from the same noise."""
    law = atoms()
    for kind in set(kinds("ndm.sampling")) - set(SAMPLERS):
        sampler = variant("ndm.sampling", kind).Config().build(4)
        pair, alone = (sampler.run(with_head(law, head), Z, 0, 0).z for head in ("direct", "drift"))
        torch.testing.assert_close(pair, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["objective.kind=discrete"],
            "head.kind=drift needs objective.kind=continuous: a discrete step asks for F at two times.",
        ),
        (["sampler.kind=ancestral"], "head.kind=drift needs sampler.kind=sde or stochastic_heun, without sampler.eta"),
        (["sampler.kind=ode"], "head.kind=drift needs sampler.kind=sde or stochastic_heun, without sampler.eta"),
        (["sampler.eta=0.5"], "head.kind=drift needs sampler.kind=sde or stochastic_heun, without sampler.eta"),
    ],
)
def test_a_drift_alone_is_refused_before_it_is_trained_for_what_it_cannot_do(overrides, sentence):
    usual = ["head.kind=drift", "sampler.kind=sde"]
    presets.load("digits-tiny", usual)
    with pytest.raises(UserError) as caught:
        presets.load("digits-tiny", [*usual, *overrides])
    assert sentence in str(caught.value)


# DiffEnc, written a second time from arXiv 2310.19789

CURVE = Curve(lambda t: -5 + 9 * (0.4 * t + 0.6 * t**2))


def gamma(t):
    return -5 + 9 * (0.4 * t + 0.6 * t**2)


def y(x, g):
    """An encoder that depends on time through gamma, as the paper's does."""
    return torch.sin(2 * x + g / 3) + g * x / 20


def published(x, epsilon, g, d_gamma, v_hat):
    """gamma' alpha^2 / 2 |v - v_hat + sigma (x_hat - x_t + y + dy/dgamma)|^2, x_t the encoded data."""
    alpha, sigma = torch.sigmoid(-g).sqrt(), torch.sigmoid(g).sqrt()
    encoded = x + sigma**2 * (y(x, g) - x)
    z = alpha * encoded + sigma * epsilon
    v, x_hat = alpha * epsilon - sigma * encoded, alpha * z - sigma * v_hat(z)
    d_y = 1 / 3 * torch.cos(2 * x + g / 3) + x / 20
    error = v - v_hat(z) + sigma * (x_hat - encoded + y(x, g) + d_y)
    return (d_gamma * alpha**2 / 2 * error**2).sum(1)


def diffenc():
    """Encoder, head and an arbitrary network."""
    encoder = Formula(lambda x, t: x + torch.sigmoid(gamma(t)) * (y(x, gamma(t)) - x))
    head = variant("ndm.heads", "diffenc").Config().build()
    return make(CURVE, lambda z, t: torch.tanh(2 * z + t), transform=encoder, head=head, shape=(3,))


def batch():
    x, epsilon = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return x, epsilon, (torch.arange(16, dtype=torch.float64) + 0.5) / 16


def test_the_integrand_of_diffenc():
    x, epsilon, u = batch()
    t = u[:, None]
    wanted = published(x, epsilon, gamma(t), 9 * (0.4 + 1.2 * t), lambda z: torch.tanh(2 * z + t))
    found = continuous(diffenc())(x, Noise(u, epsilon, epsilon)).diffusion
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12)
    assert found.min() > 1e-3


@pytest.mark.parametrize("step", [0.02, 0.4])
def test_the_generator_of_diffenc(step):
    """alpha_s / alpha_t e^d z - alpha_s (e^d - 1) x_hat - alpha_s d sigma_t^2 x_hat, d = gamma_s - gamma_t."""
    _, z, u = batch()
    model, t = diffenc(), 0.4 + 0.6 * u
    s = t - step
    value_s, value_t = model.process.at(s, z), model.process.at(t, z)
    v = model.process.posterior_variance(value_s, value_t, 1.0)
    found = model.process.posterior_mean(z, *model.path(z, t, (s, t)), value_s, value_t, v)
    g_s, g_t = gamma(s)[:, None], gamma(t)[:, None]
    d, (alpha_s, alpha_t) = g_s - g_t, (torch.sigmoid(-g).sqrt() for g in (g_s, g_t))
    x_hat = alpha_t * z - torch.sigmoid(g_t).sqrt() * torch.tanh(2 * z + t[:, None])
    wanted = alpha_s / alpha_t * d.exp() * z - alpha_s * (d.exp() - 1) * x_hat
    wanted = wanted - alpha_s * d * torch.sigmoid(g_t) * x_hat
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(v, torch.sigmoid(g_s) * (1 - d.exp()), rtol=1e-12, atol=0)
