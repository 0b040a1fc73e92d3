"""Mistakes seen in other implementations, planted one by one: an identity that holds here must fail by a clear margin.

So each identity is known to be able to fail, and which mistake it is that makes it.
"""

from math import exp

import pytest
import torch
from benches import (
    S2,
    SCHEDULE,
    Formula,
    GaussianMean,
    GaussianPosterior,
    continuous,
    discrete,
    ends,
    gauss,
    gaussian_bound,
    line,
    make,
    normal_entropy,
    normal_kl,
    schedule_of,
)

from ndm.decoders.gaussian import Gaussian
from ndm.model import Model
from ndm.objectives import Noise, Terms
from ndm.objectives.continuous import Continuous
from ndm.objectives.discrete import Discrete
from ndm.processes.ndm import NDM
from ndm.registry import variant
from ndm.transforms.identity import Identity
from ndm.volatilities.constant import Constant


class HalfLog(NDM):
    """L_prior with ln sigma_1 where ln sigma_1^2 belongs."""

    def prior_kl(self, x, f_1=None):
        end = self.at(torch.ones(len(x), dtype=x.dtype), x)
        return super().prior_kl(x, f_1) + end.sigma.log().sum(1) / 2


class Plus(NDM):
    """gap and d_gap / gamma' added instead of subtracted."""

    @staticmethod
    def tau(f, d_f, value, eta):
        return NDM.tau(f, -d_f, value, eta)


class OtherVariance(NDM):
    """v = sigma_s^2 (1 - alpha_t^2 / alpha_s^2) for DDPM's sigma_s^2 (1 - SNR_t / SNR_s)."""

    def posterior_variance(self, s, t, eta):
        return s.sigma**2 * (1 - (t.alpha / s.alpha) ** 2)


class Unweighted(NDM):
    """The squared difference of the means without 1 / (2 v)."""

    def step_kl(self, gap_s, gap_t, s, t, eta):
        return super().step_kl(gap_s, gap_t, s, t, eta) * 2 * self.posterior_variance(s, t, eta).flatten()


class OffByOne(Discrete):
    """Indices 1..T where 0..T-1 are meant: the first step is never taken, the last one twice."""

    def forward(self, x, noise):
        return super().forward(x, noise._replace(u=noise.u + 1 / self.steps))


class Index(GaussianMean):
    """The denoiser told the index i, from 1 to T, where the rest goes by i / T."""

    def forward(self, x, t):
        return super().forward(x, t * STEPS)


STEPS = 10


def gaussian(process=NDM, network=None):
    return make(SCHEDULE, network or GaussianMean(SCHEDULE, S2), decoder=GaussianPosterior(S2), process=process)


def gap_of_the_tight_bound(process):
    """-ELBO - [H(x) + KL(q(z_1), p)], zero with exact denoiser and decoder."""
    model = gaussian(process)
    end = ends(model)[1]
    return sum(gaussian_bound(continuous(model)).values()) - (
        normal_entropy(S2) + normal_kl(float(end.alpha**2 * S2 + end.sigma**2))
    )


def gap_of_the_steps(objective):
    """L_diff of T = 10 steps against sum (SNR_s - SNR_t) / 2 mmse_t."""
    snr = [exp(8 - 16 * i / STEPS) for i in range(STEPS + 1)]
    total = sum((snr[i - 1] - snr[i]) / 2 * S2 / (1 + S2 * snr[i]) for i in range(1, STEPS + 1))
    return gaussian_bound(objective)["diffusion"] / total - 1


def gap_of_the_two_forms(process):
    """The closed integrand against |f^B(x) - f^B(x_hat)|^2 / (2 g^2), on average, for a transform that moves."""
    sde = process(SCHEDULE, Formula(lambda x, t: x + 5 * t * x**2), 1.0)
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    x, x_hat = torch.full((2, 9, 1), 0.8, dtype=torch.float64) * torch.tensor([1.0, -0.5]).double()[:, None, None]
    value = sde.at(t, x)
    (f, d_f), (f_hat, d_f_hat) = sde.transform.dual(x, t), sde.transform.dual(x_hat, t)
    drift = sde.reverse_drift(x, f, d_f, value, 1.0) - sde.reverse_drift(x, f_hat, d_f_hat, value, 1.0)
    by_drift = drift**2 / (2 * sde.squared_volatility(value, 1.0))
    rate = sde.path_kl_rate(sde.tau(f - f_hat, d_f - d_f_hat, value, 1.0), value, 1.0)
    return float((rate / by_drift[:, 0] - 1).abs().max())


def test_prior_with_half_the_logarithm():
    """The tight bound is missed by -(1/2) ln sigma_1, 0.17 nats per dimension at gamma_1 = 0."""
    assert abs(gap_of_the_tight_bound(NDM)) < 1e-12
    end = ends(gaussian())[1]
    assert gap_of_the_tight_bound(HalfLog) == pytest.approx(float(end.sigma.log()) / 2, rel=1e-6)
    assert abs(gap_of_the_tight_bound(HalfLog)) > 5e-5
    x = torch.zeros(1, 1, dtype=torch.float64)
    honest, planted = (float(kind(line(-8, 0), Identity(), 1.0).prior_kl(x)) for kind in (NDM, HalfLog))
    assert honest == pytest.approx(normal_kl(0.5), abs=1e-14)
    assert planted < honest - 0.15


def test_indices_off_by_one():
    """V6's sum at T = 10 loses its largest step and counts the smallest twice."""
    assert abs(gap_of_the_steps(discrete(gaussian(), STEPS))) < 1e-10
    assert gap_of_the_steps(OffByOne(gaussian(), STEPS)) < -0.15


def test_indices_mixed_with_fractions():
    """An oracle asked for another time than its latent's costs far more than the sum of mmse's."""
    assert gap_of_the_steps(discrete(gaussian(network=Index(SCHEDULE, S2)), STEPS)) > 1


def test_posterior_variance_from_alphas_alone():
    """Still a posterior with the right marginals, but not DDPM's: the steps cost another sum, and far more of it."""
    assert gap_of_the_steps(discrete(gaussian(OtherVariance), STEPS)) > 1


def test_unweighted_steps():
    """Without 1 / (2 v) the sum is no divergence: most of it is gone."""
    assert gap_of_the_steps(discrete(gaussian(Unweighted), STEPS)) < -0.8


def test_plus_sign():
    """The closed form departs from the drifts it was worked out from by a third and more."""
    assert gap_of_the_two_forms(NDM) < 1e-12
    assert gap_of_the_two_forms(Plus) > 0.3


@pytest.mark.parametrize("steps", [None, STEPS])
def test_diffusion_term_alone_lets_the_transform_collapse(steps):
    """For F = k x the diffusion term alone is least, zero, at k = 0; with prior and reconstruction the best k is 1.

    Here F(x, 0) is not x, so z_0 is drawn through F for the Gaussian decoder: -ln p(x | z_0) costs (k - 1)^2 x^2
    SNR_0 / 2 more than at k = 1. The sum stays above H(x) for every k, the term alone does not.
    """
    scales = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    alone, total = [], []
    for k in scales:
        transform = Formula(lambda x, t, k=k: k * x)
        model = make(SCHEDULE, Shrunk(k), transform=transform)
        terms = gaussian_bound(continuous(model) if steps is None else discrete(model, steps))
        (x, p), (epsilon, v) = gauss(3), gauss(3)
        x = (S2**0.5 * x).repeat_interleave(3, 0)
        start = ends(model)[0]
        z_0 = model.process.latent(transform(x, torch.zeros(9, dtype=x.dtype)), start, epsilon.repeat(3, 1))
        weight = torch.outer(p, v).reshape(-1)
        reconstruction = -float(weight @ Gaussian().log_prob(x, z_0, start.alpha, start.sigma))
        alone.append(terms["diffusion"])
        total.append(terms["diffusion"] + terms["prior"] + reconstruction)
    assert alone[0] == 0
    assert alone == sorted(alone)
    assert scales[total.index(min(total))] == 1
    assert min(total) > normal_entropy(S2)
    assert alone[0] < normal_entropy(S2) - 1


class Shrunk(GaussianMean):
    """E[x | z_t] for F = k x."""

    def __init__(self, k):
        super().__init__(SCHEDULE, S2)
        self.k = k

    def forward(self, x, t):
        value = self.process.at(t, x)
        scale = value.alpha * self.k
        return scale * self.s2 * x / (scale**2 * self.s2 + value.sigma**2)


class DiffusionOnly(Continuous):
    """The other two terms reported, but without gradients."""

    def forward(self, x, noise):
        terms = super().forward(x, noise)
        return Terms(terms.prior.detach(), terms.reconstruction.detach(), terms.diffusion)


@pytest.mark.parametrize("kind", [Continuous, DiffusionOnly, Discrete])
def test_gradient_is_that_of_all_three_terms(kind, randomise):
    """Along a random direction of all weights the bound changes by the gradient's component, by central differences.

    Learned transform, end points of a learned schedule, denoiser and categorical decoder all take part.
    """
    network = variant("ndm.networks", "mlp").Config(width=8, depth=1)
    schedule = schedule_of("learned", -4, 1, width=4, learn_endpoints=True)
    transform = variant("ndm.transforms", "residual").Config(network=network).build((2,))
    head = variant("ndm.heads", "v").Config().build()
    model = Model(NDM(schedule, transform, Constant(1.0)), network.build((2,)), head, Gaussian(), (2,)).double()
    model = randomise(model, 0.3)
    objective = kind(model, 5) if kind is Discrete else kind(model)
    generator = torch.Generator().manual_seed(2)
    x, epsilon, epsilon_0 = torch.randn(3, 16, 2, generator=generator, dtype=torch.float64)
    noise = Noise((torch.arange(16, dtype=torch.float64) + 0.37) / 16, epsilon, epsilon_0)
    weights = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    direction = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in weights]

    def at(step):
        with torch.no_grad():
            for weight, way in zip(weights, direction, strict=True):
                weight += step * way
            value = float(objective(x, noise).total.mean())
            for weight, way in zip(weights, direction, strict=True):
                weight -= step * way
        return value

    gradient = torch.autograd.grad(objective(x, noise).total.mean(), weights)
    along = sum(float((g * way).sum()) for g, way in zip(gradient, direction, strict=True))
    h = 1e-5
    differences = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    error = abs(along / differences - 1)
    assert error > 0.01 if kind is DiffusionOnly else error < 1e-7


def test_margins_of_the_plain_numbers():
    """V7's weight: 1.850 is right, 2.204 comes of the other variance and 0.610 of no weight."""
    s, t = (at_alpha(alpha) for alpha in (0.9, 0.6))
    one = torch.ones(1, 1, dtype=torch.float64)
    processes = (kind(SCHEDULE, Identity(), 1.0) for kind in (NDM, OtherVariance, Unweighted))
    values = [float(process.step_kl(one, one, s, t, 1.0)) for process in processes]
    assert values[0] == pytest.approx(1.8503289, abs=5e-8)
    assert values[1:] == pytest.approx([2.2035747, 0.6103516], abs=5e-8)


def at_alpha(alpha):
    """A variance-preserving schedule's value with this alpha."""
    schedule = line(-1, 1)(torch.zeros(1, 1, dtype=torch.float64))
    a = torch.full((1, 1), alpha, dtype=torch.float64)
    s = (1 - a**2).sqrt()
    return schedule._replace(alpha=a, sigma=s, gamma=2 * (s.log() - a.log()))
