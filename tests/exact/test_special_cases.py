"""Each preset of a published model builds that model: its formulas, written a second time from the paper, agree.

The presets' own networks with random weights, on images of the centres of 17 levels, in float64. Sums over pixels stand
where papers average over them; which other constant lies between a paper's loss and the trained one is said at each.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.fft
import torch

from ndm import presets
from ndm.build import build_objective
from ndm.errors import UserError
from ndm.objectives import Noise
from ndm.randomness import Stream
from ndm.sampling.ancestral import Ancestral
from ndm.sampling.euler import Euler

LEVELS, SHAPE, BATCH = 17, (1, 8, 8), 6
START, END = -7.0, 6.0
"""gamma at both ends of VDM, blurring diffusion and DiffEnc."""


@pytest.fixture
def built(randomise):
    """(experiment, objective) of a preset, every weight moved off its start."""

    def build(name, *overrides):
        experiment = presets.load(name, overrides)
        assert experiment.data.shape == SHAPE
        objective = build_objective(experiment, SHAPE, LEVELS).double()
        randomise(objective)
        return experiment, objective.requires_grad_(False)

    return build


def batch():
    """Images, and noise whose uniforms cover all times."""
    generator = torch.Generator().manual_seed(4)
    x = (2 * torch.randint(LEVELS, (BATCH, *SHAPE), generator=generator).double() + 1) / LEVELS - 1
    epsilon, epsilon_0 = torch.randn(2, BATCH, *SHAPE, generator=generator, dtype=torch.float64)
    return x, Noise((torch.arange(BATCH, dtype=torch.float64) + 0.3) / BATCH, epsilon, epsilon_0)


def latents(seed=9):
    return torch.randn(BATCH, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wide(t):
    """[B] as [B, 1, 1, 1]."""
    return t[:, None, None, None]


def flat(values):
    return values.flatten(1).sum(1)


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def one_step(model, sampler, z, seed=3):
    """What a sampler of one step makes of z, and the normals it took."""
    return sampler.run(model, z, 0, seed).z, Stream(seed, "sample/epsilon", 0).normal(0, len(z), SHAPE, torch.float64)


# DDPM, arXiv 2006.11239. The paper's x_1 is the latent z_0, at beta_1 = sigma_0^2, and its x_(i + 1) is z at t = i / T.

T = 1000


def betas():
    """beta_i of T + 1 steps: -ln(1 - beta) is linear in i after the first, up to ln(1 + e^10) in all."""
    first, whole = math.log1p(math.exp(-7.0)), math.log1p(math.exp(10.0))
    i = torch.arange(1, T + 1, dtype=torch.float64)
    rate = 1 + 199 * (i - 0.5) / T  # beta(t) in units of beta_min, in the middle of a step
    steps = (whole - first) * rate / rate.sum()
    return 1 - torch.exp(-torch.cat([torch.tensor([first], dtype=torch.float64), steps]))


def test_betas_of_ddpm(built):
    """alpha_t^2 is the product of 1 - beta; those are linear but for O(beta^2), from about 1e-4 to about 0.02."""
    _, objective = built("digits-ddpm")
    assert objective.steps == T
    value = objective.model.process.schedule(torch.arange(T + 1, dtype=torch.float64) / T)
    alpha_bar = torch.cumprod(1 - betas(), 0)
    close(value.alpha**2, alpha_bar, 1e-12)
    close(value.sigma**2, 1 - alpha_bar, 1e-12)
    paper = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    assert (betas()[1:] - paper).abs().max() < 4e-4
    assert (alpha_bar[1:] - torch.cumprod(1 - paper, 0)).abs().max() < 5e-3
    assert alpha_bar[-1] == pytest.approx(float(torch.prod(1 - paper)), rel=0.2)  # e^-10.0 and e^-10.1


def ddpm_step(i):
    """(alpha_i, beta_i, alpha_bar_i, alpha_bar_(i-1)) of the step to z at i / T, [B, 1, 1, 1] for i: [B]."""
    beta = betas()
    alpha_bar = torch.cumprod(1 - beta, 0)
    return tuple(wide(v) for v in (1 - beta[i], beta[i], alpha_bar[i], alpha_bar[i - 1]))


INDICES = torch.tensor([1, 2, 100, 500, 900, 1000])


def test_posterior_of_ddpm(built):
    """Equations 6 and 7: mean and variance of q(x_(i-1) | x_i, x_0)."""
    _, objective = built("digits-ddpm")
    process, (x, _), z = objective.model.process, batch(), latents()
    alpha, beta, bar, bar_before = ddpm_step(INDICES)
    s, t = (process.at((INDICES - k).double() / T, x) for k in (1, 0))
    v = process.posterior_variance(s, t, process.eta(INDICES.double() / T, t))
    close(v, (1 - bar_before) / (1 - bar) * beta, 1e-12)
    mean = bar_before.sqrt() * beta / (1 - bar) * x + alpha.sqrt() * (1 - bar_before) / (1 - bar) * z
    close(process.posterior_mean(z, x, x, s, t, v), mean, 1e-10)


def test_losses_of_ddpm(built):
    """Equation 12's weight in the bound, T times L_(i-1), and none in what is trained: equation 14, D times it."""
    _, objective = built("digits-ddpm")
    model, (x, noise) = objective.model, batch()
    i = torch.floor(noise.u * T).long() + 1
    alpha, beta, bar, bar_before = ddpm_step(i)
    z = bar.sqrt() * x + (1 - bar).sqrt() * noise.epsilon
    error = flat((noise.epsilon - model.network(z, i / T)) ** 2)
    variance = (1 - bar_before) / (1 - bar) * beta
    terms = objective(x, noise)
    close(terms.diffusion, T * flat(beta**2 / (2 * variance * alpha * (1 - bar))) * error, 1e-7)
    close(objective.loss(terms, noise), terms.prior + terms.reconstruction + error, 1e-7)
    assert error.min() > 1


def test_a_step_of_ddpm_s_sampler(built):
    """Algorithm 2, line 4, with sigma^2 = beta tilde; the preset takes all 1000 of them."""
    experiment, objective = built("digits-ddpm")
    sampler = experiment.sampler.build(objective.steps)
    assert isinstance(sampler, Ancestral)
    assert (sampler.steps, sampler.eta, sampler.grid) == (T, None, "uniform")
    model, z = objective.model, latents()
    for i in (1, 300, 1000):
        alpha, beta, bar, bar_before = (v[:1] for v in ddpm_step(torch.tensor([i])))
        found, epsilon = one_step(model, Ancestral(1, None, times=(i / T, (i - 1) / T)), z)
        eps_hat = model.network(z, torch.full((BATCH,), i / T, dtype=torch.float64))
        variance = (1 - bar_before) / (1 - bar) * beta
        close(found, (z - beta / (1 - bar).sqrt() * eps_hat) / alpha.sqrt() + variance.sqrt() * epsilon)


# DDIM, arXiv 2010.02502


def test_ddim_is_the_training_of_ddpm_with_another_sampler(built):
    ddpm, ddim = (presets.load(f"digits-{name}") for name in ("ddpm", "ddim"))
    assert ddim.digest() == ddpm.digest()
    assert ddim.sampler != ddpm.sampler
    sampler = ddim.sampler.build(T)
    assert (sampler.steps, sampler.eta, sampler.grid) == (50, 0.0, "uniform")
    times = sampler.times(built("digits-ddim")[1].model, latents())
    assert [round(float(t[0]) * T) for t in times] == list(range(T, -1, -20))


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_steps_of_ddim_s_sampler(built, eta):
    """Equation 12, between members of a sub-sequence; sigma^2 there is its eta^2 times ours at one: equation 16."""
    experiment, objective = built("digits-ddim")
    sampler = experiment.sampler.build(objective.steps) if eta == 0 else Ancestral(50, eta**2)
    model, z = objective.model, latents()
    bars = torch.cumprod(1 - betas(), 0)
    for t, s in ((1000, 980), (520, 500), (20, 0)):
        found, epsilon = one_step(model, Ancestral(1, sampler.eta, times=(t / T, s / T)), z)
        bar, before = bars[t], bars[s]
        eps_hat = model.network(z, torch.full((BATCH,), t / T, dtype=torch.float64))
        sigma = eta * ((1 - before) / (1 - bar)).sqrt() * (1 - bar / before).sqrt()
        predicted = (z - (1 - bar).sqrt() * eps_hat) / bar.sqrt()
        direction = (1 - before - sigma**2).clamp_min(0).sqrt() * eps_hat
        close(found, before.sqrt() * predicted + direction + sigma * epsilon)


# VDM, arXiv 2107.00630


def line(t):
    return START + (END - START) * t


def test_losses_of_vdm(built):
    """Equation 17 through the noise, 1/2 gamma' |eps - eps_hat|^2; prior; and p(x | z_0) a softmax over the levels."""
    _, objective = built("digits-vdm")
    model, (x, noise) = objective.model, batch()
    g = wide(line(noise.u))
    alpha, sigma = torch.sigmoid(-g).sqrt(), torch.sigmoid(g).sqrt()
    z = alpha * x + sigma * noise.epsilon
    eps_hat = alpha * model.network(z, noise.u) + sigma * z  # the head is v
    terms = objective(x, noise)
    close(terms.diffusion, (END - START) / 2 * flat((noise.epsilon - eps_hat) ** 2), 1e-7)
    variance = 1 / (1 + math.exp(-END))
    close(terms.prior, flat((1 - variance) * x**2 + variance - math.log(variance) - 1) / 2)
    values = (2 * torch.arange(LEVELS, dtype=torch.float64) + 1) / LEVELS - 1
    start = math.exp(START / 2)  # z_0 / alpha_0 = x + start eps_0
    logits = -(((x + start * noise.epsilon_0)[..., None] - values) ** 2) / (2 * start**2)
    chosen = torch.log_softmax(logits, -1).gather(-1, ((x + 1) * LEVELS / 2).long()[..., None])
    close(terms.reconstruction, -flat(chosen[..., 0]))
    assert torch.equal(objective.loss(terms, noise), terms.total)


def test_a_step_of_vdm_s_sampler(built):
    """alpha_s / alpha_t (z - sigma_t c eps_hat) + sigma_s sqrt(c) eps, c = -expm1(gamma_s - gamma_t)."""
    experiment, objective = built("digits-vdm")
    assert experiment.sampler.build(objective.steps).eta is None
    model, z = objective.model, latents()
    for t, s in ((1.0, 0.99), (0.5, 0.2)):
        found, epsilon = one_step(model, Ancestral(1, None, times=(t, s)), z)
        (g_s, g_t), c = (line(s), line(t)), -math.expm1(line(s) - line(t))
        alpha_s, alpha_t, sigma_s, sigma_t = ((1 / (1 + math.exp(g))) ** 0.5 for g in (g_s, g_t, -g_s, -g_t))
        eps_hat = alpha_t * model.network(z, torch.full((BATCH,), t, dtype=torch.float64)) + sigma_t * z
        close(found, alpha_s / alpha_t * (z - sigma_t * c * eps_hat) + sigma_s * c**0.5 * epsilon)


# Flow matching, arXiv 2210.02747. The paper's time r runs from noise to data: r = 1 - tau, so its field is minus ours.

TAU = [1 / (1 + math.exp(-g / 2)) for g in (-7.0, 10.0)]


def test_losses_of_flow_matching(built):
    """Equation 23 without sigma_min: (d tau / dt)^2 times |v(z, r) - (x - noise)|^2 is trained, besides constants."""
    _, objective = built("digits-flow")
    model, (x, noise) = objective.model, batch()
    r = 1 - (TAU[0] + (TAU[1] - TAU[0]) * wide(noise.u))
    z = r * x + (1 - r) * noise.epsilon
    field = -model.network(z, noise.u)
    error = flat((field - (x - noise.epsilon)) ** 2)
    terms = objective(x, noise)
    close(objective.loss(terms, noise), terms.prior + terms.reconstruction + (TAU[1] - TAU[0]) ** 2 * error, 1e-7)
    assert (TAU[1] - TAU[0]) ** 2 == pytest.approx(0.929, abs=5e-4)
    snr = (r / (1 - r)) ** 2
    rate = 2 * (TAU[1] - TAU[0]) / (r * (1 - r))  # gamma' = -d ln SNR / dt
    x_hat = z + (1 - r) * field
    close(terms.diffusion, flat(snr * rate / 2 * (x - x_hat) ** 2), 1e-7)


def test_the_flow_of_flow_matching(built):
    """Euler's method on dz/dr = v(z, r), in 100 equal steps of r from noise towards data."""
    experiment, objective = built("digits-flow")
    sampler = experiment.sampler.build(objective.steps)
    assert isinstance(sampler, Euler)
    assert (sampler.steps, sampler.grid) == (100, "uniform")
    model, z = objective.model, latents()
    times = [float(t[0]) for t in sampler.times(model, z)]
    r = [1 - (TAU[0] + (TAU[1] - TAU[0]) * t) for t in times]
    assert np.diff(r) == pytest.approx((TAU[1] - TAU[0]) / 100, abs=1e-12)
    for t, s in list(pairwise(times))[::45]:
        field = -model.network(z, torch.full((BATCH,), t, dtype=torch.float64))
        speed = model.velocity(z, torch.full((BATCH,), t, dtype=torch.float64))
        close(speed, -(TAU[1] - TAU[0]) * field)
        close(Euler(1, times=(t, s)).run(model, z, 0, 0).z, z + (TAU[1] - TAU[0]) / 100 * field)


# Blurring diffusion, arXiv 2209.05557


def dct(x):
    return torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=(2, 3), norm="ortho"))


def frequencies(t):
    """(a_t, d_t, sigma_t): the cosine schedule between the ends, exp(-lambda tau) for sigma_B = 4 sin^2(pi t / 2)."""
    angle = [math.atan(math.exp(g / 2)) for g in (START, END)]
    theta = angle[0] + (angle[1] - angle[0]) * wide(t)
    k = torch.arange(8, dtype=torch.float64) * math.pi / 8
    rates = k[:, None] ** 2 + k**2
    return torch.cos(theta), torch.exp(-rates * (4 * torch.sin(math.pi / 2 * wide(t)) ** 2) ** 2 / 2), torch.sin(theta)


def test_marginals_of_blurring_diffusion(built):
    """u_t = DCT(z_t) is N(a_t d_t u, sigma_t^2) in each frequency, and dF/dt is that of a fading d_t."""
    _, objective = built("digits-blurring")
    process, (x, noise) = objective.model.process, batch()
    a, d, sigma = frequencies(noise.u)
    f, d_f = process.transform.dual(x, noise.u)
    z = process.latent(f, process.at(noise.u, x), noise.epsilon)
    close(dct(z), a * d * dct(x) + sigma * dct(noise.epsilon))
    h = 1e-6
    later, before = (frequencies(noise.u + step)[1] for step in (h, -h))
    close(dct(d_f), (later - before) / (2 * h) * dct(x), 1e-6)


def test_a_reverse_step_of_blurring_diffusion(built):
    """In each frequency N(a_s d_s u_hat + c (u_t - a_t d_t u_hat), v); for the mean of the image this is the paper's.

    The paper's chain is Markov in each frequency, 1 / v = 1 / sigma_s^2 + r^2 / sigma_ts^2 with r = a_t d_t / (a_s d_s)
    and sigma_ts^2 = sigma_t^2 - r^2 sigma_s^2, which depends on the frequency. Ours has the v of d = 1 for all, as a
    scalar g asks. Both give u_s its marginal N(a_s d_s u, sigma_s^2) exactly.
    """
    _, objective = built("digits-blurring")
    model, z = objective.model, latents()
    t, s = (torch.full((BATCH,), time, dtype=torch.float64) for time in (0.6, 0.5))
    (a_t, d_t, sigma_t), (a_s, d_s, sigma_s) = frequencies(t), frequencies(s)
    found, epsilon = one_step(model, Ancestral(1, None, times=(0.6, 0.5)), z)
    u_hat = dct(a_t * z - sigma_t * model.network(z, t))  # the head is v
    ratio = a_t * d_t / (a_s * d_s)
    between = sigma_t**2 - ratio**2 * sigma_s**2
    markov = 1 / (1 / sigma_s**2 + ratio**2 / between)
    paper = markov * (ratio / between * dct(z) + a_s * d_s / sigma_s**2 * u_hat) + markov.sqrt() * dct(epsilon)
    close(dct(found)[..., 0, 0], paper[..., 0, 0])

    v = markov[..., :1, :1]
    c = (sigma_s**2 - v).sqrt() / sigma_t
    close(dct(found), a_s * d_s * u_hat + c * (dct(z) - a_t * d_t * u_hat) + v.sqrt() * dct(epsilon))
    close(c**2 * sigma_t**2 + v, sigma_s**2, 1e-14)
    close(markov * (ratio**2 * markov * sigma_t**2 / between**2 + 1), sigma_s**2 + 0 * markov, 1e-12)
    assert (markov / v).max() > 1.5


# DiffEnc, arXiv 2310.19789


def test_losses_of_diffenc(built):
    """gamma' alpha^2 / 2 |v - v_hat + sigma (x_hat - x_t + y + dy/dgamma)|^2, x_t = x + sigma_t^2 (y - x).

    The encoder is y = x + (1 - sigma_0^2 / sigma_t^2) net(x, t): the paper's own, held to y = x where time begins.
    """
    _, objective = built("digits-diffenc")
    model, (x, noise) = objective.model, batch()

    def y(t):
        first = torch.sigmoid(torch.tensor(START, dtype=torch.float64))
        return x + (1 - first / torch.sigmoid(wide(line(t)))) * model.process.transform.network(x, t)

    g, h = wide(line(noise.u)), 1e-5
    alpha, sigma = torch.sigmoid(-g).sqrt(), torch.sigmoid(g).sqrt()
    x_t = x + sigma**2 * (y(noise.u) - x)
    z = alpha * x_t + sigma * noise.epsilon
    v, v_hat = alpha * noise.epsilon - sigma * x_t, model.network(z, noise.u)
    x_hat = alpha * z - sigma * v_hat
    d_y = (y(noise.u + h) - y(noise.u - h)) / (2 * h) / (END - START)
    error = v - v_hat + sigma * (x_hat - x_t + y(noise.u) + d_y)
    assert (x_t - x).abs().max() > 0.05
    close(objective(x, noise).diffusion, (END - START) / 2 * flat((alpha * error) ** 2), 1e-6)


def test_a_step_of_diffenc_s_generator(built):
    """alpha_s / alpha_t e^d z - alpha_s (e^d - 1) x_hat - alpha_s d sigma_t^2 x_hat + noise, d = gamma_s - gamma_t."""
    experiment, objective = built("digits-diffenc")
    assert experiment.sampler.build(objective.steps).eta is None
    model, z = objective.model, latents()
    for t, s in ((1.0, 0.99), (0.5, 0.3)):
        found, epsilon = one_step(model, Ancestral(1, None, times=(t, s)), z)
        g_s, g_t = (torch.tensor(line(time), dtype=torch.float64) for time in (s, t))
        alpha_s, alpha_t, d = torch.sigmoid(-g_s).sqrt(), torch.sigmoid(-g_t).sqrt(), g_s - g_t
        v_hat = model.network(z, torch.full((BATCH,), t, dtype=torch.float64))
        x_hat = alpha_t * z - torch.sigmoid(g_t).sqrt() * v_hat
        mean = alpha_s / alpha_t * d.exp() * z - alpha_s * (d.exp() - 1) * x_hat
        mean = mean - alpha_s * d * torch.sigmoid(g_t) * x_hat
        close(found, mean + (torch.sigmoid(g_s) * (1 - d.exp())).sqrt() * epsilon)


# Weights other than the bound's


@pytest.mark.parametrize("weight", ["noise", "velocity"])
@pytest.mark.parametrize("objective", ["continuous", "discrete"])
@pytest.mark.parametrize(
    "learned",
    [
        ["transform={kind: residual, network: {kind: mlp}}"],
        ["schedule.kind=learned"],
        ["schedule.kind=per_dimension"],
        ["volatility.kind=learned"],
        ["transform={kind: blur, learned: true}"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_a_learned_process_is_trained_on_the_bound_alone(learned, objective, weight):
    """Under another weight it would lower its loss by moving to where little weight is."""
    chosen = [f"objective.kind={objective}", f"objective.weight={weight}", *learned]
    with pytest.raises(UserError) as caught:
        build_objective(presets.load("digits-vdm", chosen), SHAPE, LEVELS)
    assert str(caught.value) == (
        f"objective.weight={weight} would let a learned forward process escape the loss; give objective.weight=bound, "
        "or a transform, schedule and volatility without parameters"
    )
    build_objective(presets.load("digits-vdm", [*learned, f"objective.kind={objective}"]), SHAPE, LEVELS)
