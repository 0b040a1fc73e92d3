"""What single variants are known to do exactly, beyond the contract of their family."""

from math import exp, log, pi

import numpy as np
import pytest
import scipy.fft
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from ndm.decoders.categorical import Categorical
from ndm.decoders.gaussian import Gaussian
from ndm.errors import UserError
from ndm.heads.x0 import X0
from ndm.model import Model
from ndm.networks import Network, dit
from ndm.objectives import Noise
from ndm.objectives.continuous import Continuous
from ndm.objectives.discrete import Discrete
from ndm.processes.ndm import NDM
from ndm.registry import variant
from ndm.schedules import linear as linear_schedule
from ndm.schedules import per_dimension
from ndm.transforms import blur, encoder, linear, scale
from ndm.transforms.identity import Identity
from ndm.volatilities.constant import Constant

MLP = variant("ndm.networks", "mlp").Config(width=8, depth=1)
TIMES = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(module, size=0.5):
    """The module in float64, every weight moved off its start."""
    module = module.double()
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter += size * normal(*parameter.shape, seed=seed)
    return module


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def mean_over_time(f, nodes=60):
    """int_0^1 f(t) dt by Gauss and Legendre's rule; f takes [nodes] and returns [nodes]."""
    u, w = np.polynomial.legendre.leggauss(nodes)
    return float(f(torch.from_numpy((u + 1) / 2)) @ torch.from_numpy(w / 2))


@pytest.mark.parametrize("config", [linear.Config(), scale.Config(per="dimension"), encoder.Config(network=MLP)])
def test_learned_transforms_start_as_the_identity(config):
    x, transform = normal(4, 5), config.build((5,)).double()
    f, d_f = transform.dual(x, TIMES)
    assert torch.equal(f, x)
    assert torch.equal(d_f, torch.zeros_like(x))


def test_linear_is_affine_with_the_matrices_it_says():
    """F(x, t) = x + sum_k b_k(t) (M_k x + v_k), b = t, t (2t - 1), t (6 (2t - 1)^2 / 4 - 1/2)."""
    transform = randomised(linear.Config(degree=3).build((2, 3)))
    x, s = normal(4, 2, 3), 2 * TIMES - 1
    b = torch.stack([TIMES, TIMES * s, TIMES * (3 * s**2 - 1) / 2])
    m, v = transform.terms.weight.reshape(3, 6, 6), transform.terms.bias.reshape(3, 6)
    a_t = torch.eye(6, dtype=torch.float64) + torch.einsum("kb,kij->bij", b, m)
    expected = torch.einsum("bij,bj->bi", a_t, x.flatten(1)) + b.T @ v
    close(transform(x, TIMES).flatten(1), expected)


def test_linear_says_what_to_use_where_it_is_too_large():
    linear.Config().build((32, 32))
    with pytest.raises(UserError, match=r"at most 1024 dimensions, not 3072; use kind scale with per=dimension"):
        linear.Config().build((3, 32, 32))


@pytest.mark.parametrize(("per", "numbers"), [("scalar", 2), ("dimension", 12)])
def test_scale_multiplies(per, numbers):
    """ln a = c_1 t + c_2 t (2t - 1), one number for all dimensions or one for each."""
    transform = randomised(scale.Config(per=per, degree=2).build((2, 3)))
    assert sum(p.numel() for p in transform.parameters()) == numbers
    t, x = TIMES[:, None, None], normal(4, 2, 3)
    a, d_a = transform.multiplier(TIMES)
    close(a, torch.exp(transform.c[0] * t + transform.c[1] * t * (2 * t - 1)))
    close(d_a, a * (transform.c[0] + transform.c[1] * (4 * t - 1)))
    close(transform.dual(x, TIMES)[0], a * x)


@pytest.mark.parametrize("c", [-1.5, 2.0])
def test_scaled_data_at_the_nominal_volatility_cost_a_known_factor(c):
    """F = e^(ct) x under gamma = -8 + 16 t is F = identity under gamma_eff' = 16 - 2c, with eta_eff = 16 / gamma_eff'.

    On x ~ N(0, s2) with E[x | z_t] the tight L_diff is [ln(1 + s2 SNR)] / 2 between the ends; a volatility of eta_eff
    costs (1 + eta_eff)^2 / (4 eta_eff) times that. The factor is above one for c != 0: the nominal bound is not tight.
    """
    s2, eta = 2.25, 16 / (16 - 2 * c)
    transform = scale.Config(degree=1).build((1,)).double()
    with torch.no_grad():
        transform.c.fill_(c)
    process = NDM(linear_schedule.Config(gamma_min=-8, gamma_max=8).build((1,)), transform, Constant(1.0))

    @torch.no_grad()
    def rate(t):
        value, (a, d_a) = process.at(t, t[:, None]), transform.multiplier(t)
        mmse = s2 / (1 + s2 * a**2 * torch.exp(-value.gamma))
        return (
            process.path_kl_rate(process.tau(a, d_a, value, 1.0), value, 1.0) * mmse[:, 0]
        )  # x - x_hat is a common factor of the gaps

    tight = (log(1 + s2 * exp(8)) - log(1 + s2 * exp(2 * c - 8))) / 2
    assert mean_over_time(rate, 200) == pytest.approx(tight * (1 + eta) ** 2 / (4 * eta), rel=1e-10)
    assert (1 + eta) ** 2 / (4 * eta) > 1.003


def test_blur_is_scipy_s_cosine_transform_damped():
    """At t: idctn(exp(-pi^2 (i^2/H^2 + j^2/W^2) sigma_B^2 / 2) dctn(x)), sigma_B = sigma sin^2(pi t / 2)."""
    x, (h, w), sigma = normal(4, 2, 6, 5), (6, 5), 1.7
    found = blur.Config(sigma=sigma).build((2, h, w)).double()(x, TIMES)
    tau = (sigma * np.sin(pi * TIMES.numpy() / 2) ** 2) ** 2 / 2
    rates = pi**2 * ((np.arange(h) / h)[:, None] ** 2 + (np.arange(w) / w) ** 2)
    damped = np.exp(-tau[:, None, None, None] * rates) * scipy.fft.dctn(x.numpy(), axes=(2, 3), norm="ortho")
    close(found, torch.from_numpy(scipy.fft.idctn(damped, axes=(2, 3), norm="ortho")))


def test_blur_keeps_means_and_loses_energy():
    transform = blur.Config(sigma=3.0).build((2, 4, 6)).double()
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    constant = torch.full((21, 2, 4, 6), 0.3, dtype=torch.float64)
    close(transform(constant, t), constant)
    x = normal(1, 2, 4, 6).expand(21, -1, -1, -1)
    f = transform(x, t)
    close(f.mean((2, 3)), x.mean((2, 3)))
    assert (f.square().sum((1, 2, 3)).diff() < 0).all()


def test_two_blurs_are_one():
    """Dissipation times add: variances sigma_1^2 + sigma_2^2 in one blur, or one after the other."""
    one, two, both = (blur.Config(sigma=s).build((1, 5, 4)).double() for s in (0.6, 0.8, 1.0))
    x, end = normal(3, 1, 5, 4), torch.ones(3, dtype=torch.float64)
    close(two(one(x, end), end), both(x, end))
    assert (both(x, end) - x).abs().max() > 0.1


def test_blur_of_a_point_is_a_gaussian_of_that_width():
    """Far from the edges, sigma is the standard deviation in pixels."""
    x = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    x[0, 0, 20, 20] = 1
    f = blur.Config(sigma=2.5).build((1, 41, 41)).double()(x, torch.ones(1, dtype=torch.float64))
    place = torch.arange(41, dtype=torch.float64) - 20
    profile = torch.exp(-(place**2) / (2 * 2.5**2)) / (2.5 * (2 * pi) ** 0.5)
    close(f[0, 0], torch.outer(profile, profile), 1e-7)


def test_a_learned_blur_starts_where_the_given_one_is():
    x = normal(4, 1, 3, 3)
    given, learned = (blur.Config(learned=flag).build((1, 3, 3)).double() for flag in (False, True))
    close(learned(x, TIMES), given(x, TIMES), 1e-6)
    assert [p.numel() for p in learned.parameters()] == [1]
    assert list(given.parameters()) == []


def test_encoder_is_that_of_diffenc_up_to_the_variance_at_zero():
    """x + sigma_t^2 (y - x) = F + sigma_0^2 (y - x), sigma that of a linear schedule with the same ends."""
    transform = randomised(encoder.Config(network=MLP, gamma_min=-6.0, gamma_max=4.0).build((3,)))
    schedule = linear_schedule.Config(gamma_min=-6.0, gamma_max=4.0).build((3,))
    x, zero = normal(4, 3), torch.zeros_like(TIMES)
    f, y = transform(x, TIMES), x + transform.network(x, TIMES)
    variance, variance_0 = (schedule(t).sigma[:, None] ** 2 for t in (TIMES, zero))
    close(x + variance * (y - x), f + variance_0 * (y - x))
    close(transform.weight(TIMES)[0][:, None], variance - variance_0)
    assert (f - y)[3].abs().max() < 0.05 * (y - x)[3].abs().max()


def test_patches_are_cut_row_by_row_and_put_back():
    x = torch.arange(2 * 1 * 4 * 6).reshape(2, 1, 4, 6)
    tokens = dit.patches(x, 2)
    assert tokens.shape == (2, 6, 4)
    assert torch.equal(tokens[0, 4], x[0, :, 2:4, 2:4].flatten())
    x = normal(2, 3, 4, 6)
    assert torch.equal(dit.image(dit.patches(x, 2), 2, 4, 6), x)


def test_attention_is_torch_s():
    q, k, v = normal(3, 2, 4, 7, 5)
    with sdpa_kernel(SDPBackend.MATH):
        close(dit.attention(q, k, v), scaled_dot_product_attention(q, k, v))


def shuffled(x, order):
    """The image with its 2 x 2 patches in another order."""
    return dit.image(dit.patches(x, 2)[:, order], 2, *x.shape[2:])


def test_dit_sees_where_a_patch_is_by_the_positions_alone():
    network = randomised(dit.Config(width=16, depth=2).build((3, 4, 6)), 0.3)
    x, t, order = normal(2, 3, 4, 6), TIMES[1:3], torch.tensor([3, 0, 5, 1, 4, 2])
    assert (network(shuffled(x, order), t) - shuffled(network(x, t), order)).abs().max() > 1e-3
    network.positions.zero_()
    close(network(shuffled(x, order), t), shuffled(network(x, t), order))


def test_positions_of_a_dit_are_all_different():
    places = dit.positions(3, 5, 8)
    assert places.shape == (15, 8)
    assert torch.cdist(places, places).add(10 * torch.eye(15)).min() > 0.1
    close(places.square().sum(1), torch.full((15,), 4.0), 1e-6)


def test_blocks_of_a_dit_start_as_the_identity():
    block, h = dit.Block(8, 2, 4, 0.0).double(), normal(2, 5, 8)
    assert torch.equal(block(h, normal(2, 4)), h)


def test_dit_refuses_what_it_cannot_cut():
    with pytest.raises(UserError, match="patch 3 of the dit must divide both sides of the image, 6 and 4"):
        dit.Config(patch=3).build((1, 6, 4))
    with pytest.raises(ValueError, match=r"width \(12\) must be a multiple of heads \(8\)"):
        dit.Config(width=12, heads=8)


def bent(shape, gamma=(-6.0, 6.0), size=1.5):
    """A schedule whose dimensions are far from linear and from each other."""
    config = per_dimension.Config(gamma_min=gamma[0], gamma_max=gamma[1])
    return randomised(config.build(shape), size)


def test_per_dimension_is_the_integral_of_a_squared_polynomial():
    schedule = bent((3,))
    s = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
    square = (schedule.a * s**2 + schedule.b * s + schedule.c) ** 2
    whole = torch.trapezoid(square, s, dim=0)
    part = torch.trapezoid(square[:1201], s[:1201], dim=0)  # up to t = 0.3
    expected = -6 + 12 * (0.1 * 0.3 + 0.9 * part / whole)
    close(schedule(torch.tensor([0.3], dtype=torch.float64)).gamma[0], expected, 1e-5)


def test_per_dimension_keeps_its_slope_where_the_polynomial_vanishes():
    """(s - 1/2)^2 has a zero of slope at t = 1/2: the floor is left there."""
    schedule = per_dimension.Config(gamma_min=-6.0, gamma_max=6.0, floor=0.2).build((1,)).double()
    with torch.no_grad():
        schedule.b.fill_(1.0)
        schedule.c.fill_(-0.5)
    close(schedule(torch.tensor([0.5], dtype=torch.float64)).d_gamma, torch.tensor([[2.4]], dtype=torch.float64))


class Halves(Network):
    """x_hat = z / 2: each dimension on its own."""

    def forward(self, x, t):
        return x / 2


@pytest.mark.parametrize("levels", [0, 4])
@pytest.mark.parametrize("steps", [None, 5])
def test_terms_of_a_schedule_per_dimension_are_sums_over_dimensions(levels, steps):
    """Where x_hat does not mix dimensions, each of them is a model of its own with its own schedule."""
    shape = (2, 1, 3)
    schedule, transform = bent(shape, (-4.0, 2.0)), randomised(scale.Config(per="dimension").build(shape), 0.2)
    epsilon, epsilon_0 = normal(2, 7, *shape)
    x = ((normal(7, *shape) * 2).round().clamp(-2, 1) + 0.5) / 2
    u = (torch.arange(7, dtype=torch.float64) + 0.4) / 7

    def terms(schedule, transform, shape, x, epsilon, epsilon_0):
        decoder = Categorical(levels) if levels else Gaussian()
        model = Model(NDM(schedule, transform, Constant(0.8)), Halves(), X0(), decoder, shape)
        objective = Continuous(model) if steps is None else Discrete(model, steps)
        with torch.no_grad():
            return torch.stack(objective(x, Noise(u, epsilon, epsilon_0)))

    total = 0
    for d in range(6):
        one, multiplier = bent((1,)), scale.Config(per="dimension").build((1,)).double()
        one.gamma_min, one.range = schedule.gamma_min, schedule.range
        with torch.no_grad():
            for name in "abc":
                getattr(one, name).copy_(getattr(schedule, name).flatten()[d : d + 1])
            multiplier.c.copy_(transform.c.flatten(1)[:, d : d + 1])
        total += terms(one, multiplier, (1,), *(v.flatten(1)[:, d : d + 1] for v in (x, epsilon, epsilon_0)))
    close(terms(schedule, transform, shape, x, epsilon, epsilon_0), total, 1e-10)


COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.5]], dtype=torch.float64)


class PlaneMean(Network):
    """E[x | z_t] = C A (A C A + S)^-1 z for x ~ N(0, C), A = diag(alpha), S = diag(sigma^2)."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, t):
        value = self.schedule(t)
        a, s = torch.diag_embed(value.alpha), torch.diag_embed(value.sigma**2)
        return (COVARIANCE @ a @ torch.linalg.inv(a @ COVARIANCE @ a + s) @ x[..., None])[..., 0]


@pytest.mark.parametrize("seed", range(3))
def test_bound_of_learned_schedules_per_dimension_does_not_depend_on_the_path(seed):
    """With E[x | z_t] L_diff is the line integral of a gradient, ln[det(I + C e^6) / det(I + C e^-6)] / 2 = 5.925."""
    schedule = bent((2,))
    with torch.no_grad():
        schedule.a += 2 * normal(2, seed=10 + seed)
    objective = Continuous(Model(NDM(schedule, Identity(), Constant(1.0)), PlaneMean(schedule), X0(), Gaussian(), (2,)))
    # x_hat is linear, so terms are quadratic and the mean over signs is that over normal variables.
    signs = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    pairs = torch.cartesian_prod(*[signs] * 4)
    x, epsilon = pairs[:, :2] @ torch.linalg.cholesky(COVARIANCE).T, pairs[:, 2:]

    @torch.no_grad()
    def diffusion(t):
        n = len(t)
        noise = Noise(t.repeat_interleave(16), epsilon.repeat(n, 1), epsilon.repeat(n, 1))
        return objective(x.repeat(n, 1), noise).diffusion.reshape(n, 16).mean(1)

    gap = schedule(torch.tensor([0.5], dtype=torch.float64)).gamma.diff()
    assert gap.abs() > 0.5
    assert mean_over_time(diffusion, 300) == pytest.approx(5.9250905, abs=1e-7)
