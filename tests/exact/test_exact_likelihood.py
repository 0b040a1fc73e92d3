"""A discrete model's own likelihood, summed out on a grid, against its bound: the two code paths meet nowhere."""

import pytest
import torch
from benches import Formula, bend, discrete, expected, fine, line, make, three_atoms

from ndm.decoders import Decoder
from ndm.decoders.gaussian import Gaussian
from ndm.processes.ndm import NDM
from ndm.volatilities.constant import Constant

SCHEDULE = line(-3, 4)
ATOMS = three_atoms(NDM(SCHEDULE, Formula(bend), Constant(1.0)))
NODES = 801
GRID = torch.linspace(-8, 8, NODES, dtype=torch.float64)[:, None]
SPACING = 16 / (NODES - 1)


class Softmax(Decoder):
    """P(x_k | z_0) = softmax_k(-(z_0 - alpha_0 x_k)^2 / (2 sigma_0^2)) over the three atoms."""

    encode = decode = Gaussian.encode

    def log_prob(self, x, z_0, alpha_0, sigma_0):
        points = ATOMS.x[:, 0]
        index = (x - points).abs().argmin(1)
        log_p = torch.log_softmax(-((z_0 - alpha_0 * points) ** 2) / (2 * sigma_0**2), 1)
        return log_p.gather(1, index[:, None])[:, 0]


def normal(z, mean, variance):
    """Density of N(mean, variance) at z."""
    return (-((z - mean) ** 2) / (2 * variance)).exp() / (2 * torch.pi * variance).sqrt()


@torch.no_grad()
def likelihood(model, steps):
    """P(x_k) for each atom, by carrying the density of z from t = 1 to t = 0 on the grid.

    p(z_s) = int p(z_t) N(z_s; posterior mean at x_hat(z_t, t), v) dz_t, and P(x) = int p(z_0) P(x | z_0) dz_0. The
    equal-spacing rule converges exponentially: the narrowest kernel spans nearly two grid spacings.
    """
    process = model.process
    density = normal(GRID[:, 0], 0.0, torch.ones((), dtype=torch.float64))
    for i in reversed(range(steps)):
        s, t = (torch.full((NODES,), j / steps, dtype=torch.float64) for j in (i, i + 1))
        value_s, value_t = process.at(s, GRID), process.at(t, GRID)
        f_s, f_t = process.transform.path(model.x_hat(GRID, t), (s, t))
        v = process.posterior_variance(value_s, value_t, process.eta(t, value_t))
        assert float(v.min().sqrt()) > 1.9 * SPACING
        mean = process.posterior_mean(GRID, f_s, f_t, value_s, value_t, v)
        density = SPACING * density @ normal(GRID[:, 0], mean, v)
    start = process.at(torch.zeros(NODES, dtype=torch.float64), GRID)
    decoded = [model.decoder.log_prob(x.expand(NODES, 1), GRID, start.alpha, start.sigma).exp() for x in ATOMS.x]
    return SPACING * torch.stack([(density * p).sum() for p in decoded])


def given(eta=1.0):
    """The model of the check: an estimate that is neither optimal nor absurd."""
    return make(
        SCHEDULE,
        lambda z, t: torch.tanh(1.3 * z) + 0.1 * t,
        transform=Formula(bend),
        decoder=Softmax(),
        eta=eta,
    )


@pytest.mark.parametrize(("steps", "eta"), [(1, 1.0), (6, 1.0), (6, 0.4), (200, 1.0)])
def test_bound_is_above_the_exact_negative_log_likelihood(steps, eta):
    """The model is a distribution, sum_k P(x_k) = 1, and -ELBO(x_k) > -ln P(x_k) for every atom, not just on average.

    -ELBO + ln P(x_k) = KL(q(z_0..z_1 | x_k) || p(z_0..z_1 | x_k)), which no code here computes.
    """
    model = given(eta)
    p = likelihood(model, steps)
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    bound = expected(discrete(model, steps), ATOMS.x, fine()).total
    assert (bound + p.log() > 0.1).all()
    if steps == 200:
        assert (bound + p.log() < 1).all()


def test_more_than_a_bound_where_latents_carry_no_information():
    """With an estimate, a transform and a decoder that ignore everything the bound is the likelihood itself.

    F = 0, and P(x | z_0) uniform: q(z_s | z_t, x) = p(z_s | z_t), so -ELBO = ln 3 + KL(q(z_1) || p(z_1)).
    """
    model = make(SCHEDULE, lambda z, t: 0 * z, transform=Formula(lambda x, t: 0 * x), decoder=Uniform())
    variance = model.process.at(torch.ones(1, dtype=torch.float64), GRID[:1]).sigma ** 2
    divergence = float(variance - 1 - variance.log()) / 2
    bound = expected(discrete(model, 6), ATOMS.x, fine(41)).total
    assert bound.tolist() == pytest.approx([torch.tensor(3.0).double().log().item() + divergence] * 3, abs=1e-12)


class Uniform(Softmax):
    def log_prob(self, x, z_0, alpha_0, sigma_0):
        return torch.full((len(x),), 1 / 3, dtype=x.dtype).log()
