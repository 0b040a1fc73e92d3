"""Samplers and the probability-flow ODE against densities, quantiles and variances known in closed form."""

import numpy as np
import pytest
import torch
from benches import Formula, GaussianMean, Oracle, bend, ends, line, make, schedule_of, three_atoms
from scipy.integrate import solve_ivp
from torch import Tensor

from ndm.decoders.gaussian import Gaussian
from ndm.processes.ndm import NDM
from ndm.randomness import Stream
from ndm.registry import kinds
from ndm.sampling.ancestral import Ancestral
from ndm.sampling.ode import Ode
from ndm.transforms.identity import Identity
from ndm.volatilities.constant import Constant


class Mixture:
    """0.3 N(-1.5, 0.4^2) + 0.7 N(1, 0.6^2), diffused with F = identity."""

    def __init__(self, process: NDM) -> None:
        self.process = process
        self.p = torch.tensor([0.3, 0.7], dtype=torch.float64)
        self.mean = torch.tensor([-1.5, 1.0], dtype=torch.float64)
        self.s2 = torch.tensor([0.16, 0.36], dtype=torch.float64)

    def law(self, t: Tensor, like: Tensor) -> tuple[torch.distributions.Normal, Tensor]:
        """(the components of q(z_t), the regression slope alpha s2 / variance of each), [B, 2]."""
        value = self.process.at(t, like)
        variance = value.alpha**2 * self.s2 + value.sigma**2
        return (
            torch.distributions.Normal(value.alpha * self.mean, variance.sqrt(), validate_args=False),
            value.alpha * self.s2 / variance,
        )

    def log_density(self, z: Tensor, t: Tensor) -> Tensor:
        return torch.logsumexp(self.p.log() + self.law(t, z)[0].log_prob(z), 1)

    def cdf(self, z: Tensor, t: Tensor) -> Tensor:
        return self.law(t, z)[0].cdf(z) @ self.p

    def x_hat(self, z: Tensor, t: Tensor) -> Tensor:
        """E[x | z_t]: each component's regression, weighted by its posterior probability."""
        components, slope = self.law(t, z)
        weights = torch.softmax(self.p.log() + components.log_prob(z), 1)
        return (weights * (self.mean + slope * (z - components.loc))).sum(1, keepdim=True)

    def oracle(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(E[F | z_t], E[dF/dt | z_t])."""
        return self.x_hat(z, t), torch.zeros_like(z)


def transported(velocity, log_density, starts):
    """ln q(z_0) by the change of variables along the ODE, and z_1: d z = u dt, d ln q = -u' dt from t = 0 to 1.

    One trajectory for all starts, DOP853 at tolerance 1e-10; u' = du/dz by reverse mode.
    """
    n = len(starts)

    def field(time, state):
        z = torch.from_numpy(state[:n, None].copy()).requires_grad_()
        u = velocity(z, torch.full((n,), time, dtype=torch.float64))
        (slope,) = torch.autograd.grad(u.sum(), z)
        return np.concatenate([u[:, 0].detach().numpy(), slope[:, 0].numpy()])

    start = np.concatenate([np.array(starts), np.zeros(n)])
    end = torch.from_numpy(solve_ivp(field, (0, 1), start, method="DOP853", rtol=1e-10, atol=1e-10).y[:, -1])
    z_1 = end[:n, None]
    return log_density(z_1, torch.ones(n, dtype=torch.float64)) + end[n:], z_1


def test_ode_likelihood_of_a_mixture():
    """ln q(z_0) = ln q(z_1) + int du/dz dt along the ODE, exact with the oracle and the true end density q(z_1).

    With the model's prior N(0, 1) in place of q(z_1) the numbers move in the third digit: two different likelihoods.
    """
    starts = [-1.5, 0.0, 1.0]
    mixture = Mixture(NDM(line(-8, 8), Identity(), Constant(1.0)))
    found, z_1 = transported(Oracle(mixture, Gaussian()).velocity, mixture.log_density, starts)
    exact = mixture.log_density(torch.tensor(starts, dtype=torch.float64)[:, None], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-9)
    assert found.tolist() == pytest.approx([-1.2072343, -2.1503763, -0.7650859], abs=5e-8)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z_1[:, 0])
    with_prior = found - mixture.log_density(z_1, torch.ones(3, dtype=torch.float64)) + prior
    assert with_prior.tolist() == pytest.approx([-1.2025, -2.1483, -0.7668], abs=5e-5)


def test_ode_of_a_nonlinear_transform_needs_the_average_of_f_and_of_its_derivative():
    """E[u | z], with E[F | z] and E[dF/dt | z], transports q(z_t) exactly whatever F.

    The velocity of the NDM form, F(x_hat, t) at x_hat = E[x | z_t], is another field once F is not affine.
    """
    starts = [-1.3, -0.6, 0.1, 0.95, 1.4]
    atoms = three_atoms(NDM(line(-4, 4), Formula(bend), Constant(1.0)))
    zero = torch.zeros(len(starts), dtype=torch.float64)
    exact = atoms.log_density(torch.tensor(starts, dtype=torch.float64)[:, None], zero)
    found, _ = transported(Oracle(atoms, Gaussian()).velocity, atoms.log_density, starts)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-9)
    model = make(line(-4, 4), lambda z, t: atoms.x_hat(z, t[:, 0]), transform=Formula(bend))
    through_x, _ = transported(model.velocity, atoms.log_density, starts)
    assert (through_x - exact).abs().max() > 0.1


@pytest.mark.parametrize("kind", kinds("ndm.schedules"))
def test_ode_sampler_lands_on_the_quantiles_of_the_data(kind):
    """In one dimension the flow keeps order: the CDF of z_0 under q(z_0) is that of z_1 under q(z_1)."""
    schedule = schedule_of(kind, -8, 8)
    mixture = Mixture(NDM(schedule, Identity(), Constant(1.0)))
    z_1 = torch.linspace(-2.5, 2.5, 21, dtype=torch.float64)[:, None]
    one = torch.ones(21, dtype=torch.float64)
    with torch.no_grad():
        z_0 = Ode(1e-9).run(Oracle(mixture, Gaussian()), z_1, 0, 0).z
        torch.testing.assert_close(mixture.cdf(z_0, 0 * one), mixture.cdf(z_1, one), rtol=0, atol=1e-7)


def test_ode_sampler_lands_on_the_quantiles_for_a_nonlinear_transform():
    """The same with three atoms behind a non-linear F: the sampler's direction and dF/dt have the right signs."""
    atoms = three_atoms(NDM(line(-4, 4), Formula(bend), Constant(1.0)))

    def cdf(z, t):
        value = atoms.process.at(t, z)
        law = torch.distributions.Normal(value.alpha * atoms.dual(t)[0], value.sigma)
        return law.cdf(z) @ atoms.p

    z_1 = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None]
    one = torch.ones(21, dtype=torch.float64)
    z_0 = Ode(1e-9).run(Oracle(atoms, Gaussian()), z_1, 0, 0).z
    torch.testing.assert_close(cdf(z_0, 0 * one), cdf(z_1, one), rtol=0, atol=1e-7)


def test_ode_sampler_on_a_gaussian_is_a_scaling():
    """Every z_t is Gaussian: the flow multiplies by the ratio of the standard deviations of q(z_0) and q(z_1)."""
    schedule, s2 = line(-6, 6), 1.5**2
    model = make(schedule, GaussianMean(schedule, s2))
    start, end = ends(model)
    ratio = ((start.alpha**2 * s2 + start.sigma**2) / (end.alpha**2 * s2 + end.sigma**2)).sqrt()
    z_1 = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    draw = Ode(1e-10).run(model, z_1, 0, 0)
    torch.testing.assert_close(draw.z, ratio * z_1, rtol=1e-8, atol=1e-9)


def response(model, steps, eta, seed=11):
    """Coefficients of z_0 on (z_1, eps_1, .., eps_T): the ancestral sampler of a linear model, solved for exactly.

    The sampler's own draws are known from their streams, so its linear map follows from more samples than coefficients.
    """
    count = steps + 9
    noise = [Stream(seed, "sample/z_1").normal(5, count, (1,), torch.float64)] + [
        Stream(seed, "sample/epsilon", i).normal(5, count, (1,), torch.float64) for i in range(steps)
    ]
    draw = Ancestral(steps, eta).run(model, noise[0], 5, seed)
    assert draw.evaluations == steps
    inputs = torch.cat(noise, 1)
    solution = torch.linalg.lstsq(inputs, draw.z)
    coefficients = solution.solution if eta else torch.linalg.lstsq(inputs[:, :1], draw.z).solution
    torch.testing.assert_close(inputs[:, : len(coefficients)] @ coefficients, draw.z, rtol=1e-9, atol=1e-9)
    return coefficients


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ancestral_sampler_reproduces_the_variance_of_the_data(eta):
    """On Gaussian data every eta has the same marginals as steps grow: q(z_0) has alpha_0^2 s2 + sigma_0^2.

    z_1 is drawn from q(z_1) here. The error of the variance falls as 1 / T: quadrupling T quarters it.
    """
    schedule, s2 = line(-6, 6), 1.5**2
    model = make(schedule, GaussianMean(schedule, s2))
    start, end = ends(model)
    target, z_1 = (float(value.alpha**2 * s2 + value.sigma**2) for value in (start, end))
    errors = []
    for steps in (25, 100, 400):
        squares = response(model, steps, eta)[:, 0] ** 2
        errors.append(float(squares[0] * z_1 + squares[1:].sum()) - target)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)
    assert abs(errors[2]) < 0.02 * target


def test_ancestral_without_noise_is_ddim():
    """DDIM: z_s = alpha_s x_hat + sigma_s eps_hat with eps_hat = (z_t - alpha_t x_hat) / sigma_t, and no randomness."""
    schedule = schedule_of("cosine", -6, 4)
    model = make(schedule, lambda z, t: torch.tanh(2 * z) * (1 - t / 2))
    z = start = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    for i in reversed(range(7)):
        s, t = (schedule(torch.tensor(j / 7, dtype=torch.float64)) for j in (i, i + 1))
        x_hat = torch.tanh(2 * z) * (1 - (i + 1) / 14)
        z = s.alpha * x_hat + s.sigma * (z - t.alpha * x_hat) / t.sigma
    sampler = Ancestral(7, 0.0)
    for seed in (0, 1):
        torch.testing.assert_close(sampler.run(model, start, 0, seed).z, z, rtol=1e-12, atol=1e-12)


class Still(GaussianMean):
    """x_hat that makes the flow almost stand still, so that a solver would like to begin with a huge step."""

    def forward(self, x, t):
        value = self.process.at(t, x)
        pull = value.d_sigma / value.sigma
        return pull / (value.alpha * pull - value.d_alpha) * x * 1.0001


@pytest.mark.parametrize("kind", kinds("ndm.schedules"))
def test_ode_sampler_never_asks_for_times_outside_the_unit_interval(kind):
    """Schedules are defined on [0, 1] only: neither the search for a first step nor the last step may leave it."""
    schedule = schedule_of(kind, -8, 5)
    z_1 = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    for network in (Still(schedule, 1.0), GaussianMean(schedule, 2.25)):
        model = make(schedule, network)
        for tolerance in (1e-1, 1e-3, 1e-6):
            seen = []
            hook = network.register_forward_pre_hook(lambda _, arguments, seen=seen: seen.append(arguments[1][0]))
            assert Ode(tolerance).run(model, z_1, 0, 0).z.isfinite().all()
            hook.remove()
            times = torch.stack(seen)
            assert float(times.max()) == 1
            assert float(times.min()) == pytest.approx(0, abs=1e-300)
            # A step past the end would have several of its stages held at zero.
            assert int((times <= 0).sum()) <= 1
