"""Proposals of times: densities that their draws have, bounds that stay what they are, and less variance."""

import numpy as np
import pytest
import torch

from ndm.decoders.gaussian import Gaussian
from ndm.heads.x0 import X0
from ndm.likelihood.elbo import elbo
from ndm.likelihood.statistics import paired
from ndm.likelihood.time import BINS, LEAST, UNIFORM, Histogram, Logistic, adaptive
from ndm.model import Model
from ndm.networks import Network
from ndm.objectives import Noise
from ndm.objectives.continuous import Config as Continuous
from ndm.processes.ndm import NDM
from ndm.schedules.linear import Config as Linear
from ndm.transforms.identity import Identity
from ndm.volatilities.constant import Constant

PROPOSALS = [UNIFORM, Logistic(-13.3, 5.0), Logistic(-8.0, 8.0, -1.0), Histogram((1.0, 1.6, 0.5, 0.9))]
S2 = 1.5**2


class Mean(Network):
    """E[x | z_t] for x ~ N(0, S2)."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, t):
        value = self.schedule(t[:, None])
        return value.alpha * S2 * x / (value.alpha**2 * S2 + value.sigma**2)


def objective(dimensions=1):
    schedule = Linear(gamma_min=-8.0, gamma_max=8.0).build((dimensions,))
    model = Model(NDM(schedule, Identity(), Constant(1.0)), Mean(schedule), X0(), Gaussian(), (dimensions,))
    return Continuous().build(model.double())


def data(count, dimensions=1):
    generator = torch.Generator().manual_seed(5)
    return 1.5 * torch.randn(count, dimensions, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("proposal", PROPOSALS, ids=["uniform", "logistic", "logistic-low", "histogram"])
def test_times_have_the_density_they_say(proposal):
    """Increasing from 0 to 1, with dt/du = 1 / q(t), so that the mean of f(t) / q(t) is the integral of f."""
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    t, density = proposal(u)
    steps = t.diff()
    assert (steps > 0).all()
    assert float(t[0]) < 1e-3
    assert float(t[-1]) > 0.9
    middle = steps * 100_000 * (density[1:] + density[:-1]) / 2
    assert float((middle - 1).abs().quantile(0.99)) < 1e-3
    for power, integral in ((0, 1 / 3), (1, 1 / 12), (4, 1 / 105)):
        assert float(((1 - t) ** 2 * t**power / density).mean()) == pytest.approx(integral, rel=1e-3)
    assert proposal(torch.tensor([0.0, 1 - 2.0**-24]))[0].dtype == torch.float32
    ends = proposal(torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64))[0]
    assert ends.tolist() == pytest.approx([0.0, 1.0], abs=1e-9)
    assert 0 <= float(ends.min()) <= float(ends.max()) <= 1


def test_logistic_times_level_the_optimal_gaussian_term():
    """E of the term over the noise, over q, is ln[(1 + s2 e^8) / (1 + s2 e^-8)] / 2 = 4.4051624 at every u."""
    made = objective()
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    noise = torch.tensor([(a, b) for a in nodes for b in nodes], dtype=torch.float64)
    weight = torch.tensor([a * b for a in weights for b in weights], dtype=torch.float64) / (2 * np.pi)
    for u in (0.01, 0.3, 0.77, 0.999):
        t, density = Logistic(-8.0, 8.0, float(np.log(S2)))(torch.full((9,), u, dtype=torch.float64))
        term = made(1.5 * noise[:, :1], Noise(t, noise[:, 1:], noise[:, 1:])).diffusion / density
        assert float(weight @ term) == pytest.approx(4.4051624, abs=5e-8)


def test_every_proposal_estimates_the_same_bound():
    """On the same images within four standard errors of the paired difference; the other terms are untouched."""
    made, x = objective(dimensions=6), data(400, 6)
    plain = elbo(made, x, 100, seed=3, draws=8)
    proposals = [Logistic(-8.0, 8.0, float(np.log(S2))), adaptive(made, x[:64], 0, seed=3), PROPOSALS[3]]
    for proposal in proposals:
        found = elbo(made, x, 100, seed=3, draws=8, proposal=proposal)
        difference = paired(found.diffusion, plain.diffusion)
        assert abs(difference.value) < 4 * difference.error
        assert 0 < difference.error < 0.3
        assert torch.equal(found.prior, plain.prior)
        assert torch.equal(found.reconstruction, plain.reconstruction)


def variance(made, x, proposal):
    """Of one draw about the image's own mean, averaged over images."""
    draws = torch.stack([elbo(made, x, 0, seed=s, draws=1, proposal=proposal).diffusion for s in range(60)])
    return float(draws.var(0).mean())


def test_proposals_that_follow_the_term_have_less_variance():
    made, x = objective(dimensions=32), data(20, 32)
    plain = variance(made, x, UNIFORM)
    assert variance(made, x, Logistic(-8.0, 8.0, float(np.log(S2)))) < plain / 5
    assert variance(made, x, adaptive(made, x, 0, seed=1)) < plain / 3


def test_the_histogram_is_that_of_the_term():
    made, x = objective(dimensions=32), data(50, 32)
    found = adaptive(made, x, 0, seed=1, draws=4)
    t = (torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS
    best = Logistic(-8.0, 8.0, float(np.log(S2)))
    fine = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    share = torch.histogram(best(fine)[0], BINS, range=(0.0, 1.0)).hist / 10_000
    expected = (1 - LEAST) * share + LEAST / BINS
    assert sum(found.weights) == pytest.approx(1, abs=1e-12)
    assert min(found.weights) >= LEAST / BINS
    torch.testing.assert_close(torch.tensor(found.weights, dtype=torch.float64), expected, rtol=0.2, atol=2e-3)
    assert len(t) == len(found.weights)
    assert found == adaptive(made, x, 0, seed=1, draws=4)
