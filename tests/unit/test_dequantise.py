"""Latents for images and what they cost: known offsets, supports, and the densities they are drawn from."""

from math import e, erf, log, pi, sqrt

import pytest
import torch
from torch import nn

from ndm.decoders import for_levels
from ndm.errors import UserError
from ndm.heads.v import V
from ndm.likelihood.dequantise import dequantise
from ndm.model import Model
from ndm.networks.mlp import Config as MLP
from ndm.processes.ndm import NDM
from ndm.schedules.linear import Config as Linear
from ndm.transforms.identity import Identity
from ndm.volatilities.constant import Constant

U = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
EPSILON = torch.linspace(-7, 7, 2001, dtype=torch.float64)
WEIGHT = torch.softmax(-EPSILON.square() / 2, 0)


def model(levels, gamma_0=-13.3, shape=(1,)):
    process = NDM(Linear(gamma_min=gamma_0, gamma_max=5.0).build(shape), Identity(), Constant(1.0))
    return Model(process, MLP(width=4, depth=1).build(shape), V(), for_levels(levels), shape)


def ends(gamma_0):
    return sqrt(1 / (1 + e**gamma_0)), sqrt(1 / (1 + e**-gamma_0))


def level(levels, k, u=U):
    return torch.full((len(u), 1), (2 * k + 1) / levels - 1, dtype=torch.float64)


def entropy(sigma):
    return log(2 * pi * e * sigma**2) / 2


@pytest.mark.parametrize(("levels", "gamma_0"), [(256, -13.3), (17, -7.0), (2, 1.0)])
@pytest.mark.parametrize("way", ["uniform", "tn"])
def test_latents_fill_the_cell_and_have_the_density_they_say(levels, gamma_0, way):
    """u -> z_0 is an inverse CDF: dz/du = 1 / density, and u in (0, 1) covers the cell and no more."""
    alpha, _ = ends(gamma_0)
    x, u = level(levels, levels // 2), U[:, None].clone().requires_grad_()
    z, cost = dequantise(model(levels, gamma_0), x, way, u)
    (slope,) = torch.autograd.grad(z.sum(), u)
    torch.testing.assert_close(slope[:, 0].log(), -cost, rtol=0, atol=2e-6)
    offset = (z - alpha * x)[:, 0].detach() * levels / alpha
    assert float(offset.abs().max()) <= 1
    assert float(offset.mean().abs()) < 1e-9
    if way == "uniform":
        assert float(offset.max()) > 0.9999


def test_uniform_is_the_usual_offset():
    """7 bits for bytes on [-1, 1] beside the density of z_0 / alpha_0: a flat one gives 8 bits per dimension."""
    x = torch.zeros(2, 3, 4, 4)
    z, cost = dequantise(model(256, shape=(3, 4, 4)), x, "uniform", torch.rand(x.shape, dtype=torch.float64))
    alpha, _ = ends(-13.3)
    bits = cost / (48 * log(2)) + log(alpha) / log(2)
    assert bits.tolist() == pytest.approx([7.0, 7.0], abs=1e-7)
    flat = cost / (48 * log(2)) - log(1 / (2 * alpha)) / log(2)
    assert flat.tolist() == pytest.approx([8.0, 8.0], abs=1e-7)
    assert z.shape == x.shape
    assert z.dtype == cost.dtype == torch.float64


def test_truncated_normal_of_bytes():
    """tau, Z and E ln r at gamma_0 = -13.3, the last in closed form and as the mean of what the draws cost."""
    alpha, sigma = ends(-13.3)
    tau = alpha / (256 * sigma)
    mass = erf(tau / sqrt(2))
    closed = -(entropy(sigma) + log(mass) - tau * e ** (-(tau**2) / 2) / (sqrt(2 * pi) * mass))
    assert tau == pytest.approx(3.018689, abs=5e-7)
    assert mass == pytest.approx(0.9974613, abs=5e-8)
    assert closed == pytest.approx(5.246283, abs=5e-7)
    assert closed / log(2) == pytest.approx(7.568787, abs=5e-7)
    cost = dequantise(model(256), level(256, 100), "tn", U[:, None]).cost
    assert float(cost.mean()) == pytest.approx(closed, abs=2e-6)


@pytest.mark.parametrize("levels", [2, 5, 17])
@pytest.mark.parametrize("gamma_0", [-8.0, -1.0, 4.0])
def test_truncated_normal_of_any_number_of_levels(levels, gamma_0):
    """From a whole normal, where cells are wide, to a uniform, where they are narrow."""
    alpha, sigma = ends(gamma_0)
    tau = alpha / (levels * sigma)
    mass = erf(tau / sqrt(2))
    closed = -(entropy(sigma) + log(mass) - tau * e ** (-(tau**2) / 2) / (sqrt(2 * pi) * mass))
    cost = dequantise(model(levels, gamma_0), level(levels, 1), "tn", U[:, None]).cost
    assert cost.isfinite().all()
    assert float(cost.mean()) == pytest.approx(closed, abs=2e-4)


@pytest.mark.parametrize(("gamma_0", "bits", "digits"), [(-13.3, 0.010453, 6), (-10, 1.8336, 4), (-8, 3.2763, 4)])
def test_decoder_of_bytes(gamma_0, bits, digits):
    """cost = ln q(z_0 | x) - ln P(x | z_0): minus the noise's entropy, plus the known bits of the reconstruction."""
    u = torch.special.ndtr(EPSILON)[:, None]
    cost = dequantise(model(256, gamma_0), level(256, 128, u), "decoder", u).cost
    found = (float(WEIGHT @ cost) + entropy(ends(gamma_0)[1])) / log(2)
    assert found == pytest.approx(bits, abs=10.0**-digits / 2)


@pytest.mark.parametrize("way", ["decoder", "point"])
def test_continuous_data_cost_the_change_of_variables(way):
    """-D ln alpha_0 whatever z_0; with the noise's entropy the reconstruction term, -5.231061 per dimension."""
    shape = (2, 3)
    x = torch.randn(5, *shape, dtype=torch.float64)
    u = torch.rand(x.shape, dtype=torch.float64)
    z, cost = dequantise(model(0, shape=shape), x, way, u)
    alpha, sigma = ends(-13.3)
    torch.testing.assert_close(cost, torch.full((5,), -6 * log(alpha), dtype=torch.float64), rtol=0, atol=1e-9)
    assert float(cost[0]) / 6 + entropy(sigma) == pytest.approx(-5.231061, abs=5e-7)
    noise = (z - alpha * x) / sigma
    if way == "point":
        assert noise.abs().max() < 1e-3
    else:
        torch.testing.assert_close(noise, torch.special.ndtri(u), rtol=1e-6, atol=1e-6)


class Uneven(nn.Module):
    """A schedule with an end of its own for each dimension."""

    def forward(self, t):
        made = [Linear(gamma_min=g, gamma_max=5.0).build((1,))(t) for g in (-9.0, -3.0)]
        return type(made[0])(*(torch.stack(pair, -1) for pair in zip(*made, strict=True)))


@pytest.mark.parametrize("way", ["uniform", "tn", "decoder"])
def test_a_schedule_per_dimension_costs_the_sum(way):
    both = model(5, shape=(2,))
    both.process.schedule = Uneven()
    x = torch.tensor([[-0.4, 0.4]], dtype=torch.float64)
    u = torch.tensor([[0.2, 0.9]], dtype=torch.float64)
    z, cost = dequantise(both, x, way, u)
    parts = [dequantise(model(5, g), x[:, i : i + 1], way, u[:, i : i + 1]) for i, g in enumerate((-9.0, -3.0))]
    torch.testing.assert_close(z, torch.cat([p.z for p in parts], 1))
    torch.testing.assert_close(cost, parts[0].cost + parts[1].cost)


@pytest.mark.parametrize(("levels", "way"), [(0, "uniform"), (0, "tn"), (256, "point")])
def test_a_way_that_is_not_for_the_data_is_refused(levels, way):
    x = torch.zeros(1, 1)
    with pytest.raises(UserError, match=f"dequantisation {way} is not for .*; give one of .*decoder"):
        dequantise(model(levels), x, way, torch.full_like(x, 0.5, dtype=torch.float64))
