"""The bound on Gaussian data with the optimal denoiser, where every term has a closed form.

x ~ N(0, 1.5^2), gamma from -8 to 8, F = identity unless said otherwise.
"""

from math import exp, log, pi

import pytest
import torch
from benches import (
    S2,
    SCHEDULE,
    Curve,
    Formula,
    GaussianMean,
    GaussianPosterior,
    continuous,
    discrete,
    ends,
    expected,
    gauss,
    gaussian_bound,
    make,
    normal_entropy,
    normal_kl,
    schedule_of,
)
from scipy.integrate import quad

from ndm.networks import Network
from ndm.registry import kinds
from ndm.schedules import Schedule, ScheduleValue

INFORMATION = log((1 + S2 * exp(8)) / (1 + S2 * exp(-8))) / 2
"""I(x; z_0) - I(x; z_1)."""
DISCRETE = {
    1: 3351.05,
    2: 1032.65,
    5: 26.4190,
    10: 9.8961,
    50: 5.0974,
    100: 4.7338,
    1000: 4.4366,
    10000: 4.4083,
}


def identity(schedule=SCHEDULE, eta=1.0, decoder=None):
    return make(schedule, GaussianMean(schedule, S2), eta=eta, decoder=decoder)


def test_diffusion_term_is_the_information_lost_on_the_way():
    """With E[x | z_t] the integrand is -(1/2) dSNR/dt mmse(SNR), and mmse = s2 / (1 + s2 SNR) for a Gaussian.

    So L_diff = [ln(1 + s2 SNR)] / 2 between the ends: I(x; z_0) - I(x; z_1).
    """
    assert round(INFORMATION, 7) == 4.4051624
    assert gaussian_bound(continuous(identity()))["diffusion"] == pytest.approx(INFORMATION, rel=1e-12)


def test_bound_is_tight_with_exact_denoiser_and_decoder():
    """-ELBO = H(x|z_0) + [I(x;z_0) - I(x;z_1)] + E KL(q(z_1|x), p), and the last is I(x;z_1) + KL(q(z_1), p).

    The informations cancel: H(x) + KL(q(z_1), N(0, 1)) is left, with q(z_1) = N(0, alpha_1^2 s2 + sigma_1^2).
    """
    model = identity(decoder=GaussianPosterior(S2))
    terms = gaussian_bound(continuous(model))
    end = ends(model)[1]
    total = normal_entropy(S2) + normal_kl(float(end.alpha**2 * S2 + end.sigma**2))
    assert terms["diffusion"] == pytest.approx(4.405162, abs=5e-7)
    assert terms["prior"] == pytest.approx(0.000377, abs=5e-7)
    assert terms["reconstruction"] == pytest.approx(-2.581136, abs=5e-7)
    assert total == pytest.approx(1.824404, abs=5e-7)
    assert sum(terms.values()) == pytest.approx(total, abs=1e-12)


class Scaled(Schedule):
    """The base schedule with alpha multiplied by a(t) = 1 + rate t: the same latents as F = a(t) x."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, t):
        value, a, rate = SCHEDULE(t), 1 + self.rate * t, self.rate
        return ScheduleValue(
            value.alpha * a,
            value.sigma,
            value.d_alpha * a + value.alpha * rate,
            value.d_sigma,
            value.gamma - 2 * a.log(),
            value.d_gamma - 2 * rate / a,
        )


@pytest.mark.parametrize(("rate", "penalty"), [(-0.9, 0.0224899), (2.0, 0.0350747)])
def test_scaled_data_are_tight_at_the_matched_volatility_only(rate, penalty):
    """F = a(t) x has the log-SNR of gamma_eff = gamma - 2 ln a, and is Markov in law for g^2 = sigma^2 gamma_eff'.

    That volatility is the one of the process that has a(t) in its alpha and F = identity: its bound is tight. With
    the nominal g^2 = sigma^2 gamma', eta_eff = gamma' / gamma_eff' multiplies the integrand by (1 + eta_eff)^2 /
    (4 eta_eff) >= 1. The penalty is this excess, integrated by another rule; the figure is its value.
    """
    schedule = Scaled(rate)
    matched = make(schedule, GaussianMean(schedule, S2), decoder=GaussianPosterior(S2))
    nominal = make(
        SCHEDULE,
        GaussianMean(schedule, S2),
        transform=Formula(lambda x, t: (1 + rate * t) * x),
        decoder=GaussianPosterior(S2),
    )
    end = ends(matched)[1]
    tight = normal_entropy(S2) + normal_kl(float(end.alpha**2 * S2 + end.sigma**2))
    terms, excess = gaussian_bound(continuous(matched)), gaussian_bound(continuous(nominal))
    assert sum(terms.values()) == pytest.approx(tight, abs=1e-10)
    assert terms["prior"] == pytest.approx(excess["prior"], abs=1e-12)
    assert terms["reconstruction"] == pytest.approx(excess["reconstruction"], abs=1e-12)

    def integrand(t):
        gamma_eff = -8 + 16 * t - 2 * log(1 + rate * t)
        d_gamma_eff = 16 - 2 * rate / (1 + rate * t)
        rate_of_information = d_gamma_eff * S2 / (exp(gamma_eff) + S2) / 2
        eta = 16 / d_gamma_eff
        return rate_of_information * ((1 + eta) ** 2 / (4 * eta) - 1)

    assert quad(integrand, 0, 1, epsabs=1e-13)[0] == pytest.approx(penalty, abs=5e-8)
    assert sum(excess.values()) - tight == pytest.approx(penalty, abs=5e-8)


@pytest.mark.parametrize("eta", [0.05, 0.5, 2.0, 7.0])
def test_volatility_costs_a_known_factor(eta):
    """For F = identity the drift difference scales with (1 + eta) / 2 and 1 / g^2 with 1 / eta."""
    ratio = gaussian_bound(continuous(identity(eta=eta)))["diffusion"] / INFORMATION
    assert ratio == pytest.approx((1 + eta) ** 2 / (4 * eta), rel=1e-12)


CURVES = {
    "square": lambda: Curve(lambda t: -8 + 16 * t**2),
    "sine": lambda: Curve(lambda t: -8 + 16 * torch.sin(pi / 2 * t) ** 2),
}


@pytest.mark.parametrize("kind", [*CURVES, *kinds("ndm.schedules")])
def test_any_schedule_between_the_same_ends_gives_the_same_bound(kind):
    """L_diff is an integral over SNR for F = identity: time, and whether variance is preserved, do not enter."""
    schedule = CURVES[kind]() if kind in CURVES else schedule_of(kind, -8, 8)
    with torch.no_grad():
        for parameter in schedule.parameters():  # a learned one must not stay a straight line
            if parameter.requires_grad and parameter.ndim:
                parameter[::5] += 2.0
    assert gaussian_bound(continuous(identity(schedule)))["diffusion"] == pytest.approx(INFORMATION, rel=1e-9)


@pytest.mark.parametrize(("steps", "value"), DISCRETE.items())
def test_discrete_bound_with_the_optimal_denoiser(steps, value):
    """Each step costs (SNR_s - SNR_t) / 2 mmse_t: a Riemann sum from the right of a decreasing function of SNR.

    So it falls with T to the integral, the excess being about 31 / T for large T.
    """
    objective = discrete(identity(), steps)
    found = gaussian_bound(objective)["diffusion"]
    snr = [exp(8 - 16 * i / steps) for i in range(steps + 1)]
    mmse = [S2 / (1 + S2 * r) for r in snr]
    total = sum((snr[i - 1] - snr[i]) / 2 * mmse[i] for i in range(1, steps + 1))
    assert found == pytest.approx(total, rel=1e-10)
    assert float(f"{found:.6g}") == pytest.approx(value, abs=0.51 * 10 ** -(len(str(value).split(".")[1])))
    if steps >= 1000:
        assert steps * (found - INFORMATION) == pytest.approx(31.4, abs=0.3)


COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.5]], dtype=torch.float64)


class PlaneMean(Network):
    """E[x | z_t] = C A (A C A + S)^-1 z for x ~ N(0, C), A = diag(alpha), S = diag(sigma^2)."""

    def __init__(self, schedule, pooled=False):
        super().__init__()
        self.schedule, self.pooled = schedule, pooled

    def forward(self, x, t):
        value = self.schedule(t)
        a = torch.diag_embed(value.alpha)
        s = torch.diag_embed(value.sigma**2)
        estimator = COVARIANCE @ a @ torch.linalg.inv(a @ COVARIANCE @ a + s)
        if self.pooled:
            snr = (-value.gamma).exp().mean(1)[:, None, None]
            eye = torch.eye(2, dtype=x.dtype)
            estimator = COVARIANCE @ torch.linalg.inv(COVARIANCE + eye / snr) @ torch.linalg.inv(a)
        return (estimator @ x[..., None])[..., 0]


PATHS = {
    "together": lambda t: torch.stack([-6 + 12 * t, -6 + 12 * t], 1),
    "one ahead": lambda t: torch.stack([-6 + 12 * t**2, -6 + 12 * (2 * t - t**2)], 1),
    "crossing": lambda t: torch.stack([-6 + 12 * t, -6 + 12 * torch.sin(pi / 2 * t) ** 4], 1),
}


def plane(path, pooled):
    """L_diff on N(0, C) of a per-dimension schedule."""
    schedule = Curve(PATHS[path])
    objective = continuous(make(schedule, PlaneMean(schedule, pooled), shape=(2,)))
    node, p = gauss(2)
    grid = torch.cartesian_prod(node[:, 0], node[:, 0])
    weight = torch.outer(p, p).reshape(-1)
    root = torch.linalg.cholesky(COVARIANCE)
    return float(weight @ expected(objective, grid @ root.T, (grid, weight)).diffusion)


def test_per_dimension_schedules_are_path_independent_for_the_optimal_denoiser():
    """d I(x; z_t) / d SNR_i = mmse_i / 2 for each dimension: L_diff is the line integral of a gradient.

    It depends on the ends alone, ln(det(I + C e^6) / det(I + C e^-6)) / 2, where a denoiser that pools
    the two SNRs leaves no gradient, and paths differ.
    """
    eye = torch.eye(2, dtype=torch.float64)
    log_det = (torch.logdet(eye + COVARIANCE * exp(6)) - torch.logdet(eye + COVARIANCE * exp(-6))) / 2
    assert float(log_det) == pytest.approx(5.9250905, abs=5e-8)
    for path in PATHS:
        assert plane(path, pooled=False) == pytest.approx(float(log_det), rel=1e-8)
    assert plane("together", pooled=True) == pytest.approx(float(log_det), rel=1e-8)
    for path in ("one ahead", "crossing"):
        assert plane(path, pooled=True) > 1.1 * float(log_det)
