"""Paths of flows that are known: chords, a turn, the flow of a normal law; and the solver against another."""

from collections.abc import Callable
from math import pi, sin, sqrt

import pytest
import torch
from analysis.paths import Paths, follow, ratio, shape
from scipy.integrate import quad
from torch import Tensor

from ndm.likelihood import solver
from ndm.likelihood.statistics import mean, paired
from ndm.objectives import Objective
from ndm.processes.ndm import NDM
from ndm.randomness import Stream
from ndm.registry import variant
from ndm.transforms.identity import Identity
from ndm.volatilities.constant import Constant

CHORDS = torch.tensor([[3.0, 4.0], [0.0, -2.0], [1.0, 0.0]], dtype=torch.float64)
START = torch.tensor([[0.5, -1.0], [2.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)


def test_chords_at_constant_speed_are_straight() -> None:
    """Quarters are sums of powers of two, so not even rounding is left."""
    paths = follow(lambda z, t: CHORDS, START, 4)
    assert torch.equal(paths.z[-1], START)
    assert torch.equal(paths.z[0], START - CHORDS)
    found = shape(paths)
    assert found.cost.tolist() == [25.0, 4.0, 1.0]
    torch.testing.assert_close(found.straightness, torch.zeros(3).double(), rtol=0, atol=1e-30)
    torch.testing.assert_close(found.length, torch.ones(3).double(), rtol=1e-14, atol=0)


def test_chords_at_changing_speed_have_length_one_and_are_not_straight() -> None:
    """With u = 2 t c it is int_0^1 (2 t - 1)^2 dt = 1/3."""
    found = shape(follow(lambda z, t: 2 * t[:, None] * CHORDS, START, 8))
    torch.testing.assert_close(found.straightness, torch.full((3,), 1 / 3, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.length, torch.ones(3).double(), rtol=1e-12, atol=0)


def test_a_turn_has_the_length_of_its_arc() -> None:
    """By an angle w about the origin: chord 2 r sin(w/2), speed w r, so S = (w r)^2 / |c|^2 - 1."""
    angle = pi / 2
    found = shape(follow(lambda z, t: angle * torch.stack([-z[:, 1], z[:, 0]], 1), START, 64))
    radius = START.norm(dim=1)
    torch.testing.assert_close(found.cost, (2 * radius * sin(angle / 2)) ** 2, rtol=1e-8, atol=0)
    assert float(found.length.mean()) == pytest.approx(angle / (2 * sin(angle / 2)), rel=1e-8)
    assert float(found.straightness.mean()) == pytest.approx((angle / (2 * sin(angle / 2))) ** 2 - 1, rel=1e-7)


def normal_flow(kind: str, sd: Tensor) -> tuple[NDM, Callable[[Tensor, Tensor], Tensor]]:
    """A process with F = x, and the velocity of the best model of data N(0, sd^2)."""
    schedule = variant("ndm.schedules", kind).Config(gamma_min=-6.0, gamma_max=5.0).build((2,))
    process = NDM(schedule, Identity(), Constant(1.0)).double()

    def velocity(z: Tensor, t: Tensor) -> Tensor:
        value = process.at(t, z)
        x_hat = value.alpha * sd**2 * z / (value.alpha**2 * sd**2 + value.sigma**2)
        return process.velocity(z, x_hat, torch.zeros_like(z), value)

    return process, velocity


def scale(process: NDM, t: float, sd: float) -> tuple[float, float]:
    """v(t), the standard deviation of z_t, and dv/dt: paths of a normal law are z_t = z_1 v(t) / v(1)."""
    value = process.schedule(torch.tensor([t], dtype=torch.float64))
    v = sqrt(float(value.alpha) ** 2 * sd**2 + float(value.sigma) ** 2)
    return v, float(value.alpha * value.d_alpha * sd**2 + value.sigma * value.d_sigma) / v


@pytest.mark.parametrize("kind", ["linear", "cosine", "straight"])
@pytest.mark.parametrize("sd", [(0.5, 0.5), (0.3, 2.0)])
def test_the_flow_of_a_normal_law_is_as_straight_as_its_closed_form(kind: str, sd: tuple[float, float]) -> None:
    process, velocity = normal_flow(kind, torch.tensor(sd, dtype=torch.float64))
    z_1 = Stream(0, "test").normal(0, 6, (2,), torch.float64)
    paths = follow(velocity, z_1, 256)
    found = shape(paths)
    ends = [(scale(process, 0.0, s)[0], scale(process, 1.0, s)[0]) for s in sd]
    costs, offs, lengths = [], [], []
    for row in z_1.tolist():
        chord = [z * (1 - first / last) for z, (first, last) in zip(row, ends, strict=True)]

        def speed(t: float, row: list[float] = row) -> list[float]:
            return [z * scale(process, t, s)[1] / last for z, s, (_, last) in zip(row, sd, ends, strict=True)]

        def off(t: float, chord: list[float] = chord, speed: Callable[[float], list[float]] = speed) -> float:
            return sum((u - c) ** 2 for u, c in zip(speed(t), chord, strict=True))

        costs.append(sum(c**2 for c in chord))
        offs.append(quad(off, 0, 1, limit=200)[0])
        lengths.append(quad(lambda t, speed=speed: sqrt(sum(u**2 for u in speed(t))), 0, 1, limit=200)[0])
    assert found.cost.tolist() == pytest.approx(costs, rel=1e-6)
    assert mean(found.straightness).value == pytest.approx(sum(offs) / sum(costs), rel=1e-4)
    assert mean(found.length).value == pytest.approx(sum(lengths) / sum(map(sqrt, costs)), rel=1e-4)
    if sd[0] == sd[1] and kind != "straight":  # of those the standard deviation rises all the way: the paths are chords
        assert mean(found.length).value == pytest.approx(1, rel=1e-6)


def test_the_solver_is_of_order_four() -> None:
    _, velocity = normal_flow("linear", torch.tensor([0.3, 2.0], dtype=torch.float64))
    z_1 = Stream(0, "test").normal(0, 6, (2,), torch.float64)
    exact = follow(velocity, z_1, 512).z[0]
    errors = [float((follow(velocity, z_1, steps).z[0] - exact).abs().max()) for steps in (32, 64, 128)]
    assert 11 < errors[0] / errors[1] < 24
    assert 11 < errors[1] / errors[2] < 24


def test_the_paths_of_a_model_are_those_of_the_solver_of_likelihoods(tiny: Callable[..., Objective]) -> None:
    model = tiny("continuous").model
    z_1 = Stream(0, "test").normal(0, 2, (2,), torch.float64)
    found = follow(model.velocity, z_1, 128)
    other = solver.solve(lambda z, t, _: (model.velocity(z, t), t), z_1, 1.0, 0.0, tolerance=1e-7)
    torch.testing.assert_close(found.z[0], other.z, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.u[64], model.velocity(found.z[64], torch.full((2,), 0.5).double()))


def test_a_ratio_of_means_has_its_error_to_first_order() -> None:
    over, under = Stream(0, "test").normal(0, 2, (400,), torch.float64).abs() + 1
    found, r = mean(ratio(over, under)), float(over.mean() / under.mean())
    assert found.value == pytest.approx(r, rel=1e-12)
    delta = torch.cov(torch.stack([over, under]))
    variance = delta[0, 0] - 2 * r * delta[0, 1] + r**2 * delta[1, 1]
    assert found.error == pytest.approx(sqrt(float(variance) / 400) / float(under.mean()), rel=1e-10)
    assert paired(ratio(3 * under, under), ratio(2 * under, under)) == pytest.approx((1.0, 0.0), abs=1e-12)


def test_a_path_that_returns_does_not_rule_the_mean() -> None:
    """One path without a chord: the mean of ratios would be infinite."""
    t = torch.linspace(0, 1, 5).double()
    z = torch.stack([torch.zeros(5, 2), t[:, None].float() * torch.tensor([2.0, 0.0])], 1).double()
    u = torch.zeros(5, 2, 2).double()
    u[:, 0, 1], u[:, 1, 0] = torch.tensor([1.0, 0.5, 0.0, -0.5, -1.0]), 2.0
    found = shape(Paths(t, z, u))
    assert mean(found.cost).value == 2
    assert mean(found.straightness).value == pytest.approx((1 / 3) / 4, rel=1e-12)
