"""What the forward process must satisfy whatever F: marginals, the limit of small steps, and two forms of one drift."""

from math import exp, log

import pytest
import torch
from benches import Curve, Formula, bend, line, make, normal_entropy, schedule_of, three_atoms

from ndm.decoders.gaussian import Gaussian
from ndm.processes.ndm import NDM
from ndm.registry import kinds
from ndm.schedules import ScheduleValue
from ndm.transforms.identity import Identity
from ndm.volatilities.constant import Constant

ETAS = [0.3, 1.0, 2.5]


def scalar(value):
    return torch.tensor([[value]], dtype=torch.float64)


def preserving(alpha):
    """A variance-preserving schedule's value with this alpha; its derivatives are not asked for."""
    alpha = scalar(alpha)
    sigma = (1 - alpha**2).sqrt()
    none = torch.full_like(alpha, torch.nan)
    return ScheduleValue(alpha, sigma, none, none, 2 * (sigma.log() - alpha.log()), none)


def process(kind="linear", eta=1.0, f=bend, gamma=(-5.0, 4.0)):
    return NDM(schedule_of(kind, *gamma), Formula(f), Constant(eta))


def draw(n=64, seed=3):
    """x, x_hat, z: [n, 1] and t: [n] inside (0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    x, x_hat, z = torch.randn(3, n, 1, generator=generator, dtype=torch.float64)
    return x, x_hat, z, 0.01 + 0.98 * torch.rand(n, generator=generator, dtype=torch.float64)


def test_weight_of_an_identity_step():
    """With v of DDPM, c = (alpha_t/alpha_s)(sigma_s/sigma_t)^2, so alpha_s - c alpha_t = alpha_s (1 - SNR_t/SNR_s).

    Its square over 2 v = 2 sigma_s^2 (1 - SNR_t/SNR_s) is (SNR_s - SNR_t) / 2.
    """
    s, t = preserving(0.9), preserving(0.6)
    one = scalar(1.0)
    weight = float(NDM(line(-1, 1), Identity(), Constant(1.0)).step_kl(one, one, s, t, 1.0))
    assert weight == pytest.approx((0.81 / 0.19 - 0.36 / 0.64) / 2, abs=1e-12)
    assert weight == pytest.approx(1.8503289, abs=5e-8)


@pytest.mark.parametrize("v", [0.0, 0.05, 0.16493, 0.19])
def test_posterior_keeps_the_marginal_for_any_variance(v):
    """z_s = alpha_s F_s + c (z_t - alpha_t F_t) + sqrt(v) eps, with c^2 sigma_t^2 = sigma_s^2 - v.

    So z_s has the mean alpha_s F_s and the variance c^2 sigma_t^2 + v = sigma_s^2 whatever v is.
    """
    s, t, f_s, f_t = preserving(0.9), preserving(0.6), scalar(1.3), scalar(-0.4)
    at = [NDM.posterior_mean(t.alpha * f_t + z * t.sigma, f_s, f_t, s, t, scalar(v)) for z in (0.0, 1.0)]
    assert float(at[0]) == pytest.approx(1.17, abs=1e-14)
    assert float((at[1] - at[0]) ** 2) + v == pytest.approx(0.19, abs=1e-14)
    chain = NDM(line(-1, 1), Identity(), Constant(0.5))
    assert float(chain.posterior_variance(s, t, 0.5)) == pytest.approx(0.16493 / 2, abs=5e-6)
    assert float(chain.posterior_variance(s, t, 1.0)) == pytest.approx(0.16493, abs=5e-6)
    assert float(chain.posterior_variance(s, t, 0.0)) == 0


@pytest.mark.parametrize("kind", kinds("ndm.schedules"))
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_chain_of_posteriors_keeps_every_marginal(kind, eta):
    """From q(z_1 | x) down a chain of ten steps the mean stays alpha F and the variance sigma^2.

    The mean is affine in z_t, z_s = m + c z_t + sqrt(v) eps: mean and variance are carried along exactly.
    """
    chain = process(kind)
    x = torch.tensor([[0.7]], dtype=torch.float64)
    grid = torch.linspace(0, 1, 11, dtype=torch.float64)
    with torch.no_grad():
        values = [chain.at(t[None], x) for t in grid]
        f = [chain.transform(x, t[None]) for t in grid]
        mean, variance = values[10].alpha * f[10], values[10].sigma ** 2
        for i in reversed(range(10)):
            s, t = values[i], values[i + 1]
            v = chain.posterior_variance(s, t, eta)
            at_mean = chain.posterior_mean(mean, f[i], f[i + 1], s, t, v)
            slope = chain.posterior_mean(mean + 1, f[i], f[i + 1], s, t, v) - at_mean
            mean, variance = at_mean, slope**2 * variance + v
            torch.testing.assert_close(mean, s.alpha * f[i], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(variance, s.sigma**2, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("kind", kinds("ndm.schedules"))
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_small_steps_tend_to_the_reverse_sde(kind, eta):
    """(E[z_{t-h} | z_t, x] - z_t) / (-h) tends to f^B and v / h to g^2, both with an error of order h.

    Halving h must halve the error: Richardson's 2 a(h/2) - a(h) is then right to order h^2.
    """
    sde = process(kind, eta)
    x, _, z, t = draw()
    t = 0.1 + 0.8 * t
    with torch.no_grad():
        value = sde.at(t, x)
        f, d_f = sde.transform.dual(x, t)
        rates = []
        for h in (2e-4, 1e-4):
            before = sde.at(t - h, x)
            v = sde.posterior_variance(before, value, eta)
            mean = sde.posterior_mean(z, sde.transform(x, t - h), f, before, value, v)
            rates.append(((z - mean) / h, v / h))
        drift, variance = (2 * fine - coarse for coarse, fine in zip(*rates, strict=True))
        torch.testing.assert_close(drift, sde.reverse_drift(z, f, d_f, value, eta), rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(variance, sde.squared_volatility(value, eta), rtol=1e-5, atol=1e-6)


def test_drift_by_hand():
    """f^B = (sigma'/sigma + eta gamma'/2) z - alpha gamma' tau, tau = (1 + eta) F / 2 - F' / gamma'.

    It regroups u - g^2 s / 2 by alpha'/alpha = sigma'/sigma - gamma'/2.
    """
    gamma, d_gamma, eta, z, f, d_f = 0.7, 9.0, 0.6, 0.3, -1.1, 2.4
    schedule = Curve(lambda t: gamma + d_gamma * (t - 0.5))
    sde, t = NDM(schedule, Identity(), Constant(eta)), torch.tensor([0.5], dtype=torch.float64)
    value = sde.at(t, scalar(z))
    found = float(sde.reverse_drift(scalar(z), scalar(f), scalar(d_f), value, eta))
    alpha_2 = 1 / (1 + exp(gamma))
    tau = (1 + eta) / 2 * f - d_f / d_gamma
    assert found == pytest.approx((d_gamma * alpha_2 / 2 + eta * d_gamma / 2) * z - alpha_2**0.5 * d_gamma * tau)
    assert found == pytest.approx(7.202591, abs=5e-7)


@pytest.mark.parametrize("kind", kinds("ndm.schedules"))
@pytest.mark.parametrize("eta", ETAS)
def test_integrand_in_closed_form_is_the_drift_difference(kind, eta):
    """|f^B(x) - f^B(x_hat)|^2 / (2 g^2), z cancelling, is what `path_kl_rate` works out."""
    sde = process(kind, eta)
    x, x_hat, z, t = draw()
    with torch.no_grad():
        value = sde.at(t, x)
        (f, d_f), (f_hat, d_f_hat) = sde.transform.dual(x, t), sde.transform.dual(x_hat, t)
        gap = sde.reverse_drift(z, f, d_f, value, eta) - sde.reverse_drift(z, f_hat, d_f_hat, value, eta)
        drift_form = (gap**2 / (2 * sde.squared_volatility(value, eta))).sum(1)
        closed = sde.path_kl_rate(sde.tau(f - f_hat, d_f - d_f_hat, value, eta), value, eta)
    torch.testing.assert_close(closed, drift_form, rtol=1e-11, atol=1e-12)


def test_step_cost_is_a_divergence_between_the_two_posteriors():
    """torch's own KL of the two Gaussians q(z_s | z_t, x) and q(z_s | z_t, x_hat), at any z_t."""
    chain = process("cosine", 0.7)
    x, x_hat, z, t = draw()
    with torch.no_grad():
        s = t * 0.8
        value_s, value_t = chain.at(s, x), chain.at(t, x)
        f, f_hat = chain.transform.path(x, (s, t)), chain.transform.path(x_hat, (s, t))
        v = chain.posterior_variance(value_s, value_t, 0.7)
        laws = [
            torch.distributions.Normal(chain.posterior_mean(z, *pair, value_s, value_t, v), v.sqrt())
            for pair in (f, f_hat)
        ]
        found = chain.step_kl(f[0] - f_hat[0], f[1] - f_hat[1], value_s, value_t, 0.7)
    torch.testing.assert_close(found, torch.distributions.kl_divergence(*laws).sum(1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, *ETAS])
def test_oracle_drift_keeps_the_marginals_at_any_volatility(eta):
    """With E[f^B | z] the reverse SDE has the density q(z_t) of the forward process, for every g.

    Time running backwards, dz = f^B dt + g dW obeys q_t = -(f^B q)' - g^2 q'' / 2 (a prime is d/dz). Checked point by
    point on three atoms and a non-linear F, the derivatives by forward mode; eta = 0 is the continuity equation.
    """
    sde = process("linear", eta, gamma=(-4.0, 4.0))
    atoms = three_atoms(sde)
    z = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None].repeat(5, 1)
    t = torch.tensor([0.05, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64).repeat_interleave(41)
    ones = torch.ones_like(z)

    def density(z, t):
        return atoms.log_density(z, t).exp()[:, None]

    def slope(z):
        return torch.func.jvp(lambda place: density(place, t), (z,), (ones,))[1]

    def flux(z):
        value = sde.at(t, z)
        return sde.reverse_drift(z, *atoms.oracle(z, t), value, eta) * density(z, t)

    change = torch.func.jvp(lambda time: density(z, time), (t,), (torch.ones_like(t),))[1]
    carried = torch.func.jvp(flux, (z,), (ones,))[1]
    spread = torch.func.jvp(slope, (z,), (ones,))[1] * sde.squared_volatility(sde.at(t, z), eta) / 2
    assert float(change.abs().max()) > 1
    torch.testing.assert_close(change, -carried - spread, rtol=1e-9, atol=1e-9)


def test_prior_term_per_dimension():
    """KL(N(alpha_1 x, sigma_1^2) || N(0, 1)) = [alpha_1^2 x^2 + sigma_1^2 - 1 - ln sigma_1^2] / 2."""
    for x_2, gamma_1, nats, accuracy in ((1, 5, 0.0033577, 5e-8), (1, 10, 2.27e-5, 5e-8), (0.25, 5, 0.00084786, 5e-9)):
        x = scalar(x_2**0.5)
        found = float(NDM(line(-5, gamma_1), Identity(), Constant(1.0)).prior_kl(x))
        assert found == pytest.approx(nats, abs=accuracy)
        law = torch.distributions.Normal(x / (1 + exp(gamma_1)) ** 0.5, scalar(1 / (1 + exp(-gamma_1))).sqrt())
        assert found == pytest.approx(float(torch.distributions.kl_divergence(law, UNIT)), rel=1e-9)
    assert found / log(2) == pytest.approx(0.0012232, abs=5e-8)


UNIT = torch.distributions.Normal(scalar(0.0), scalar(1.0))


def test_prior_term_is_that_of_the_transformed_data_and_never_negative():
    """It uses F(x, 1), sums over dimensions, and is zero only at N(0, 1) itself."""
    sde = NDM(line(-5, 3), Formula(bend), Constant(1.0))
    x = torch.linspace(-3, 3, 24, dtype=torch.float64).reshape(8, 3)
    end = sde.at(torch.ones(8, dtype=torch.float64), x)
    law = torch.distributions.Normal(end.alpha * torch.tanh(2 * x + torch.sin(torch.tensor(3.0).double())), end.sigma)
    divergence = torch.distributions.kl_divergence(law, UNIT).sum(1)
    torch.testing.assert_close(sde.prior_kl(x), divergence, rtol=1e-10, atol=1e-14)
    assert (sde.prior_kl(x) > 0).all()


def test_reconstruction_term_of_continuous_data():
    """-E ln N(x; z_0 / alpha_0, e^gamma_0) = (1 + ln 2 pi + gamma_0) / 2 for any F with F(x, 0) = x: -5.231061 nats."""
    model = make(line(-13.3, 5), lambda z, t: z, transform=Formula(bend), decoder=Gaussian())
    epsilon = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)  # a two-point rule is exact for a square
    found = float(model.reconstruction(torch.full_like(epsilon, 0.4), epsilon).mean())
    assert found == pytest.approx(-5.231061, abs=5e-7)
    assert found == pytest.approx(normal_entropy(1.0) - 13.3 / 2, abs=1e-9)
