"""The discrete bound tends to the continuous one, at the rate 1/T, and to no other that looks like it."""

import pytest
import torch
from benches import Curve, Formula, continuous, discrete, empirical, make, schedule_of

from ndm.decoders.gaussian import Gaussian
from ndm.model import Model
from ndm.processes.ndm import NDM
from ndm.randomness import Stream
from ndm.registry import kinds, variant
from ndm.volatilities.constant import Constant

A = torch.tensor([[1.1, -0.4], [0.5, 0.9]], dtype=torch.float64)
B = torch.tensor([[0.8, 0.6], [-0.7, 1.2]], dtype=torch.float64)
W = torch.tensor([[0.9, 0.3], [-0.2, 1.1]], dtype=torch.float64)
X = Stream(7, "limit/x").normal(0, 200, (2,), torch.float64)
EPSILON = Stream(7, "limit/epsilon").normal(0, 200, (2,), torch.float64)


def plane(process=NDM, eta=1.0):
    """Two dimensions, F = (1 - t) x + t A tanh(B x + .3 sin 3t), gamma = -6 + 12 (.6 t + .4 t^2), a tanh denoiser.

    Matrices, denoiser and the 200 pairs (x, epsilon) are fixed here: the identities hold whatever they are.
    """
    return make(
        Curve(lambda t: -6 + 12 * (0.6 * t + 0.4 * t**2)),
        lambda z, t: 1.2 * torch.tanh(z @ W.T + 0.2 * t),
        transform=Formula(lambda x, t: (1 - t) * x + t * torch.tanh(x @ B.T + 0.3 * torch.sin(3 * t)) @ A.T),
        shape=(2,),
        eta=eta,
        process=process,
    )


class Plus(NDM):
    """Planted: the sign between gap and its derivative turned."""

    @staticmethod
    def tau(f, d_f, value, eta):
        return NDM.tau(f, -d_f, value, eta)


class Frozen(NDM):
    """Planted: dF/dt forgotten."""

    @staticmethod
    def tau(f, d_f, value, eta):
        return NDM.tau(f, 0 * d_f, value, eta)


class Drift(NDM):
    """The integrand from `reverse_drift`, where z cancels, in place of the closed form."""

    def tau(self, f, d_f, value, eta):
        return self.reverse_drift(0 * f, f, d_f, value, eta)

    def path_kl_rate(self, tau_gap, value, eta):
        return (tau_gap**2 / (2 * self.squared_volatility(value, eta))).flatten(1).sum(1)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_the_limit_is_the_continuous_bound(eta):
    """sum_i KL_i is a Riemann sum of the integrand with steps 1/T: its excess is c / T to leading order.

    Richardson's 2 L_2T - L_T removes that order; what is left falls as 1 / T^2, so at T = 1000 the two bounds agree to
    a few parts in a million, which neither planted integrand does.
    """
    limit = empirical(continuous(plane(eta=eta)), X, EPSILON)
    series = {steps: empirical(discrete(plane(eta=eta), steps), X, EPSILON) for steps in (4, 10, 30, 100, 500, 1000)}
    excess = {steps: value - limit for steps, value in series.items()}
    assert list(series.values()) == sorted(series.values(), reverse=True)
    assert 500 * excess[500] == pytest.approx(1000 * excess[1000], rel=0.02)
    assert 2 * series[1000] - series[500] == pytest.approx(limit, rel=1e-5)
    for planted in (Plus, Frozen):
        wrong = empirical(continuous(plane(planted, eta)), X, EPSILON)
        assert abs(wrong - limit) > 100 * abs(excess[1000])


def test_drift_form_and_closed_form_are_one_bound():
    """Two ways to write the same integral: equal to rounding."""
    drift, closed = (empirical(continuous(plane(process)), X, EPSILON) for process in (Drift, NDM))
    assert drift == pytest.approx(closed, rel=1e-12)


@pytest.mark.parametrize("kind", ["residual", "time_basis"])
@pytest.mark.parametrize("head", [kind for kind in kinds("ndm.heads") if kind != "drift"])
def test_networks_with_random_weights_converge_too(kind, head, randomise):
    """The platform's own transform, head, network and schedule, all weights moved off their start.

    The excess tends to c / T, so (4 L_512 - L_128) / 3 is right to order 1 / T^2.
    """
    network = variant("ndm.networks", "mlp").Config(width=8, depth=1)
    transform = variant("ndm.transforms", kind).Config(network=network).build((2,))
    process = NDM(schedule_of("learned", -5, 3, width=4), transform, Constant(1.0))
    heads = variant("ndm.heads", head).Config().build()
    model = randomise(Model(process, network.build((2,), heads.outputs), heads, Gaussian(), (2,)).double(), 0.3)
    pairs = X[:30], EPSILON[:30]
    limit = empirical(continuous(model), *pairs, nodes=100)
    excess = [empirical(discrete(model, steps), *pairs) - limit for steps in (8, 32, 128, 512)]
    assert abs(excess[0]) > 20 * abs(excess[3])
    assert abs(excess[3]) < 0.02 * limit
    assert abs(4 * excess[3] - excess[2]) / 3 < 0.001 * limit
