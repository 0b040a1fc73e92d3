"""No model may claim more than the data allow: the bound of Gaussian data stays above their closed-form entropy."""

import pytest
import torch
from benches import expected, fine, line, normal_entropy

from ndm.decoders.gaussian import Gaussian
from ndm.likelihood.elbo import elbo, full_draws
from ndm.model import Model
from ndm.objectives.continuous import Config as Continuous
from ndm.objectives.discrete import Config as Discrete
from ndm.processes.ndm import NDM
from ndm.randomness import Stream
from ndm.registry import variant
from ndm.training.ema import Ema
from ndm.training.optimizer import OptimizerConfig
from ndm.training.state import State
from ndm.training.step import Slots, noise, step
from ndm.volatilities.constant import Constant

S2 = 0.8**2
BATCH, STEPS = 128, 120


def build(kind, objective):
    network = variant("ndm.networks", "mlp").Config(width=16, depth=1)
    transform = variant("ndm.transforms", kind).Config
    made = transform(network=network) if "network" in transform.model_fields else transform()
    head = variant("ndm.heads", "v").Config().build()
    process = NDM(line(-5, 5).float(), made.build((1,)), Constant(1.0))
    return objective.build(Model(process, network.build((1,)), head, Gaussian(), (1,)))


def exact(objective):
    """E over the data of -ELBO, by quadrature over x, noise and time, in float64."""
    x, p = fine(31, reach=6.0)
    return float(p @ expected(objective.double(), S2**0.5 * x, fine(31, reach=6.0), nodes=40).total)


@pytest.mark.parametrize(("objective", "near"), [(Discrete(steps=30), 0.4), (Continuous(), 0.1)], ids=["T30", "cont"])
@pytest.mark.parametrize("kind", ["identity", "residual"])
def test_trained_and_untrained_bounds_stay_above_the_entropy(kind, objective, near, randomise):
    """-ELBO >= -E ln p(x) >= H(x), for random weights and after a short training with `step`, which must come near.

    And `elbo` on a fresh sample estimates the same number, within its own standard error.
    """
    entropy = normal_entropy(S2)
    assert exact(randomise(build(kind, objective), 0.3)) > entropy + 0.1
    trained = build(kind, objective)
    optimizer = OptimizerConfig(lr=5e-3, warmup=10 * BATCH, decay="cosine")
    state = State(trained, optimizer.build(trained), Ema(trained, 0.9))
    for i in range(STEPS):
        at = i * BATCH
        for group in state.optimizer.param_groups:
            group["lr"] = optimizer.rate(at + BATCH, STEPS * BATCH)
        x = S2**0.5 * Stream(1, "entropy/x").normal(at, BATCH, (1,))
        step(trained, state, x, noise(1, Slots(at, BATCH, 0, BATCH), (1,)), clip=1.0)
    bound = exact(trained)
    assert entropy < bound < entropy + near
    x = S2**0.5 * Stream(2, "entropy/x").normal(0, 500, (1,), torch.float64)
    terms = elbo(trained, x, 0, seed=3, draws=full_draws(trained, 30)).total
    assert float(terms.mean()) == pytest.approx(bound, abs=5 * float(terms.std()) / 500**0.5)
