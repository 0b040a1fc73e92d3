"""With F = identity the platform's bound is that of Variational Diffusion Models, written here a second time.

Kingma et al. (arXiv 2107.00630) write the bound through the noise: 1/2 gamma' |eps - eps_hat|^2 in continuous time, and
T/2 expm1(gamma_t - gamma_s) |eps - eps_hat|^2 for T steps. With v-prediction eps - eps_hat is alpha (v - v_hat).
"""

import math

import pytest
import torch
from benches import line

from ndm.decoders.categorical import Categorical
from ndm.model import Model
from ndm.objectives import Noise
from ndm.objectives.continuous import Config as Continuous
from ndm.objectives.discrete import Config as Discrete
from ndm.processes.ndm import NDM
from ndm.registry import variant
from ndm.transforms.identity import Identity
from ndm.volatilities.constant import Constant

LEVELS, SHAPE, BATCH = 17, (2, 3), 32
GAMMA = (-5.0, 4.0)


def draw():
    """Levels' centres x, and the noise of one batch; u covers all times and one end."""
    generator = torch.Generator().manual_seed(4)
    x = (2 * torch.randint(LEVELS, (BATCH, *SHAPE), generator=generator).double() + 1) / LEVELS - 1
    epsilon, epsilon_0 = torch.randn(2, BATCH, *SHAPE, generator=generator, dtype=torch.float64)
    return x, Noise(torch.arange(BATCH, dtype=torch.float64) / BATCH, epsilon, epsilon_0)


def gamma(t):
    return GAMMA[0] + (GAMMA[1] - GAMMA[0]) * t


def flat(values):
    return values.flatten(1).sum(1)


def vdm(network, kind, x, noise, steps):
    """The three terms of VDM's loss per example, from the network's own output as eps_hat or v_hat."""
    if steps is None:
        t = noise.u
        weight = torch.full_like(t, (GAMMA[1] - GAMMA[0]) / 2)
    else:
        t = (torch.floor(noise.u * steps) + 1) / steps
        weight = torch.expm1(gamma(t) - gamma(t - 1 / steps)) * steps / 2
    g = gamma(t)[:, None, None]
    alpha, sigma = torch.sigmoid(-g).sqrt(), torch.sigmoid(g).sqrt()
    z = alpha * x + sigma * noise.epsilon
    output = network(z, t)
    if kind == "epsilon":
        diffusion = weight * flat((noise.epsilon - output) ** 2)
    else:  # eps - eps_hat = alpha (v - v_hat), v = alpha eps - sigma x
        diffusion = weight * flat((alpha * (alpha * noise.epsilon - sigma * x - output)) ** 2)
    variance_1 = 1 / (1 + math.exp(-GAMMA[1]))
    prior = flat((1 - variance_1) * x**2 + variance_1 - math.log(variance_1) - 1) / 2
    width = math.exp(GAMMA[0] / 2)  # z_0 / alpha_0 = x + width eps_0
    values = (2 * torch.arange(LEVELS, dtype=torch.float64) + 1) / LEVELS - 1
    logits = -(((x + width * noise.epsilon_0)[..., None] - values) ** 2) / (2 * width**2)
    index = ((x + 1) * LEVELS / 2).long()
    reconstruction = -flat(torch.log_softmax(logits, -1).gather(-1, index[..., None])[..., 0])
    return prior, reconstruction, diffusion


@pytest.mark.parametrize("steps", [None, 1, 10, 1000])
@pytest.mark.parametrize("kind", ["epsilon", "v"])
def test_every_example_costs_what_it_costs_in_vdm(kind, steps, randomise):
    """Same weights, same draws: the three terms agree per example to 1e-6, and much better."""
    network = randomise(variant("ndm.networks", "mlp").Config(width=16, depth=2).build(SHAPE).double())
    head = variant("ndm.heads", kind).Config().build()
    model = Model(NDM(line(*GAMMA), Identity(), Constant(1.0)), network, head, Categorical(LEVELS), SHAPE)
    objective = Continuous().build(model) if steps is None else Discrete(steps=steps).build(model)
    x, noise = draw()
    with torch.no_grad():
        found = objective(x, noise)
        expected = vdm(network, kind, x, noise, steps)
    for term, reference in zip(found, expected, strict=True):
        assert (reference > 1e-4).all()
        torch.testing.assert_close(term, reference, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(found.total, sum(expected), rtol=1e-8, atol=1e-9)
