"""The divergence of a velocity: exact traces for any shape, and Hutchinson's estimate with its variance."""

from itertools import product

import numpy as np
import pytest
import torch

from ndm.decoders.gaussian import Gaussian
from ndm.heads.v import V
from ndm.likelihood.divergence import exact, frozen, hutchinson
from ndm.model import Model
from ndm.processes.ndm import NDM
from ndm.registry import kinds, variant
from ndm.schedules.linear import Config as Linear
from ndm.volatilities.constant import Constant

A = torch.tensor([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0], [-2.0, 1.0, 0.5]], dtype=torch.float64)
SHAPE = (1, 2, 2)
TINY = {
    "mlp": {"width": 8, "depth": 2, "fourier": (1.0,)},
    "unet": {"channels": 4, "blocks": 1, "multipliers": (1, 2)},
}


def moved(module, scale=0.3):
    """Every trainable parameter off its start, where output layers are zero."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module


def network(kind):
    return variant("ndm.networks", kind).Config(**TINY[kind])


def model(transform, net):
    torch.manual_seed(0)
    config = variant("ndm.transforms", transform).Config
    made = config(network=network(net)) if "network" in config.model_fields else config()
    process = NDM(Linear(gamma_min=-6.0, gamma_max=4.0).build(SHAPE), made.build(SHAPE), Constant(1.0))
    return moved(Model(process, network(net).build(SHAPE), V(), Gaussian(), SHAPE).double())


def draw(n=3):
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(n, *SHAPE, generator=generator, dtype=torch.float64)
    return z, torch.tensor([0.0, 0.35, 1.0], dtype=torch.float64)[:n]


def linear(z, t):
    return z @ A.T


def curved(z, t):
    """On any shape, with every dimension acting on every other."""
    flat = z.flatten(1)
    return (torch.sin(flat.cumsum(1) + t[:, None]) * flat.flip(1).exp()).reshape(z.shape)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 7, 11), (2, 3, 4, 1)])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_exact_trace_of_any_shape(shape, n):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, *shape, generator=generator, dtype=torch.float64) / 3
    z = z.reshape(n, *(shape or (1,)))
    t = torch.rand(n, generator=generator, dtype=torch.float64)
    u, trace = exact(curved, z, t)
    torch.testing.assert_close(u, curved(z, t), rtol=1e-14, atol=1e-14)
    for i in range(min(n, 3)):
        jacobian = torch.autograd.functional.jacobian(lambda v, i=i: curved(v[None], t[i : i + 1])[0], z[i])
        expected = jacobian.reshape(z[0].numel(), -1).trace()
        torch.testing.assert_close(trace[i], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("transform", kinds("ndm.transforms"))
@pytest.mark.parametrize("net", ["mlp", "unet"])
def test_divergence_of_a_model_by_three_modes(transform, net):
    """Reverse over forward, as used; forward over forward; and differences of the velocity, which know no mode."""
    made = model(transform, net)
    z, t = draw()
    with frozen(made):
        found = exact(made.velocity, z, t)[1]
        h, forward, difference = 1e-3, torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for i in range(4):
            e = torch.zeros(4, dtype=torch.float64).index_fill_(0, torch.tensor(i), 1.0).reshape(SHAPE)
            tangent = torch.func.jvp(lambda v: made.velocity(v, t), (z,), (e.expand_as(z),))[1]
            forward += (tangent * e).flatten(1).sum(1)
            near, far = (made.velocity(z + k * h * e, t) - made.velocity(z - k * h * e, t) for k in (1, 2))
            difference += ((8 * near - far) / (12 * h) * e).flatten(1).sum(1)
    torch.testing.assert_close(found, forward, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(found, difference, rtol=1e-6, atol=1e-6)
    assert found.abs().min() > 1e-3


@pytest.mark.parametrize("transform", ["identity", "residual"])
def test_every_sign_vector_once_gives_the_trace(transform):
    """Hutchinson's mean over all of a basis of orthogonal sign vectors (Hadamard) is the trace, probe by probe."""
    made = model(transform, "mlp")
    z, t = draw()
    hadamard = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(2):
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    probes = hadamard.reshape(4, 1, *SHAPE).expand(-1, 3, *SHAPE)
    u, estimate = hutchinson(made.velocity, z, t, probes)
    torch.testing.assert_close(u, made.velocity(z, t))
    torch.testing.assert_close(estimate, exact(made.velocity, z, t)[1], rtol=1e-11, atol=1e-11)
    one = hutchinson(made.velocity, z, t, probes[3:4])[1]
    assert (one - estimate).abs().max() > 1e-3


def test_variance_with_signs_and_with_normals():
    """26.25 and 30.75 for A of trace 0.5: all eight sign vectors, and a product rule exact for the fourth power."""
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
    estimates = hutchinson(linear, torch.zeros_like(signs), torch.zeros(8), signs[None])[1]
    assert float(estimates.mean()) == pytest.approx(0.5, abs=1e-12)
    assert float(estimates.var(correction=0)) == pytest.approx(26.25, abs=1e-10)
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    normals = torch.tensor(list(product(nodes, repeat=3)), dtype=torch.float64)
    weight = torch.tensor([np.prod(w) for w in product(weights / weights.sum(), repeat=3)], dtype=torch.float64)
    estimates = hutchinson(linear, torch.zeros_like(normals), torch.zeros(len(normals)), normals[None])[1]
    mean = float(weight @ estimates)
    assert mean == pytest.approx(0.5, abs=1e-12)
    assert float(weight @ (estimates - mean) ** 2) == pytest.approx(30.75, abs=1e-10)


def test_more_probes_are_averaged_in_one_forward_evaluation():
    calls = []

    def counted(z, t):
        calls.append(len(z))
        return linear(z, t)

    probes = torch.tensor(list(product([-1.0, 1.0], repeat=3)), dtype=torch.float64)[:, None].expand(-1, 2, -1)
    estimate = hutchinson(counted, torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2), probes)[1]
    torch.testing.assert_close(estimate, torch.full((2,), 0.5, dtype=torch.float64))
    assert calls == [2]


def test_frozen_parameters_cost_nothing_and_come_back():
    made = model("residual", "mlp")
    made.network.first.bias.requires_grad_(False)
    before = [p.requires_grad for p in made.parameters()]
    z, t = draw()
    with frozen(made):
        assert not any(p.requires_grad for p in made.parameters())
        exact(made.velocity, z, t)
    with pytest.raises(RuntimeError), frozen(made):
        made.velocity(z[:, :, :1], t)
    assert [p.requires_grad for p in made.parameters()] == before
    assert all(p.grad is None for p in made.parameters())
