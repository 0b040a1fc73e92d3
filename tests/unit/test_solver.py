"""The solver: its order, and that a row of the batch is solved for itself alone."""

import numpy as np
import pytest
import torch
from scipy.interpolate import KroghInterpolator
from torchdiffeq import odeint

from ndm.errors import UserError
from ndm.likelihood.solver import solve, weights

RATES = torch.tensor([0.3, 2.0, 9.0, 40.0], dtype=torch.float64)
GAUSS, SHARE = np.polynomial.legendre.leggauss(6)
GAUSS, SHARE = (GAUSS + 1) / 2, SHARE / 2
STARTS = torch.tensor([[1.0, -0.4], [0.5, 0.5], [2.0, 0.1], [-1.0, 1.0]], dtype=torch.float64)


def turning(z, t, rate):
    """z turns by the angle (1 - cos(rate t)) / 2 + t, and |z| grows as e^(sin(rate t) / rate)."""
    spin = rate * torch.sin(rate * t) / 2 + 1
    turned = torch.stack([-z[:, 1], z[:, 0]], 1)
    return spin[:, None] * turned + torch.cos(rate * t)[:, None] * z


def solution(z, t, rate):
    angle = (1 - torch.cos(rate * t)) / 2 + t
    growth = (torch.sin(rate * t) / rate).exp()
    cosine, sine = angle.cos(), angle.sin()
    turned = torch.stack([cosine * z[:, 0] - sine * z[:, 1], sine * z[:, 0] + cosine * z[:, 1]], 1)
    return growth[:, None] * turned


def field(z, t, rows):
    """Rows differ in their rate; dl/dt = 2 cos(rate t) is the divergence."""
    return turning(z, t, RATES[rows]), 2 * torch.cos(RATES[rows] * t)


NODES = torch.tensor([[0.0, -0.7, -1.1, -2.6, -3.0], [0.0, -2.0, -2.2, -2.9, -4.0]], dtype=torch.float64)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_weights_are_exact_for_polynomials(order):
    """A prediction of order q for slopes of degree below q, its correction for degree q, and neither for one more."""
    w = weights(NODES, torch.tensor([[max(order - 1, 1), order, min(order + 1, 5)]] * 2))
    one = torch.ones(2, dtype=torch.float64)
    for degree in range(order + 2):
        past, integral = NODES**degree, one / (degree + 1)
        predicted, gap = (w.predict * past).sum(1), 1 - (w.extrapolate[:, 1] * past).sum(1)
        corrected = predicted + w.correct * gap
        assert torch.allclose(gap, 0 * one, atol=1e-12) == (degree < order)
        assert torch.allclose(predicted, integral, atol=1e-12) == (degree < order)
        assert torch.allclose(corrected, integral, atol=1e-12) == (degree <= order)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_estimate_of_the_error(order):
    """The corrected integral less that of the polynomial through the new slope and one old slope less, by SciPy."""
    w = weights(NODES, torch.tensor([[max(order - 1, 1), order, min(order + 1, 5)]] * 2))
    slopes = torch.cos(3 * NODES + 1)
    new = 0.3
    for i in range(2):
        nodes, values = NODES[i].numpy(), slopes[i].numpy()
        full, less = (
            float(KroghInterpolator([1.0, *nodes[:n]], [new, *values[:n]])(GAUSS) @ SHARE) for n in (order, order - 1)
        )
        gap = new - float(w.extrapolate[i, 1] @ slopes[i])
        assert float(w.predict[i] @ slopes[i] + w.correct[i] * gap) == pytest.approx(full, abs=1e-11)
        assert float(w.error[i, 1]) * gap == pytest.approx(full - less, abs=1e-11)


def test_evaluations_grow_with_the_order_of_the_method():
    """Order six with the correction: a thousandth of the tolerance costs about 1000^(1/6), 3.2 times as much."""
    field_one = lambda z, t, rows: field(z, t, rows + 2)  # noqa: E731
    rough, fine = (solve(field_one, STARTS[2:3], tolerance=v) for v in (1e-6, 1e-9))
    assert 2.2 < float(fine.evaluations / rough.evaluations) < 4.2


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-8])
def test_errors_follow_the_tolerance(tolerance):
    found = solve(field, STARTS, tolerance=tolerance)
    one = torch.ones(4, dtype=torch.float64)
    assert (found.z - solution(STARTS, one, RATES)).abs().max() < 100 * tolerance
    exact = 2 * torch.sin(RATES) / RATES
    assert (found.integral - exact).abs().max() < 1000 * tolerance
    controlled = solve(field, STARTS, tolerance=tolerance, density=True)
    assert (controlled.integral - exact).abs().max() < 60 * tolerance


def test_a_row_does_not_depend_on_its_batch():
    """Alone, in the batch, and in another order: equal to rounding, with the same number of evaluations."""
    together = solve(field, STARTS, tolerance=1e-5)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = solve(lambda z, t, rows: field(z, t, order[rows]), STARTS[order], tolerance=1e-5)
    for i in range(4):
        alone = solve(lambda z, t, rows, i=i: field(z, t, rows + i), STARTS[i : i + 1], tolerance=1e-5)
        place = int((order == i).nonzero())
        for a, b in ((alone.z[0], together.z[i]), (alone.integral[0], together.integral[i])):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(shuffled.z[place], together.z[i], rtol=1e-12, atol=1e-12)
        assert int(alone.evaluations) == int(together.evaluations[i]) == int(shuffled.evaluations[place])
    assert together.evaluations[3] > 3 * together.evaluations[0]
    assert together.batches == together.evaluations.max()


def test_a_shared_step_size_makes_a_row_depend_on_its_batch():
    """What this solver is for: torchdiffeq at the same tolerance moves a row by its neighbours."""
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def shared(rows):
        f = lambda t, z: turning(z, t.expand(len(z)), RATES[rows])  # noqa: E731
        return odeint(f, STARTS[rows], times, rtol=1e-5, atol=1e-5, method="dopri5")[-1]

    together = shared(torch.arange(4))
    alone = torch.cat([shared(torch.tensor([i])) for i in range(4)])
    assert (together - alone).abs().max() > 1e-6


def test_steps_follow_the_state_alone_unless_the_density_is_controlled():
    """So the path, and with it Hutchinson's unbiasedness, does not depend on the probe."""

    def noisy(z, t, rows):
        dz, dl = field(z, t, rows)
        return dz, dl + 30 * torch.sin(60 * t)

    plain, other = (solve(f, STARTS, tolerance=1e-5) for f in (field, noisy))
    assert torch.equal(plain.z, other.z)
    assert torch.equal(plain.evaluations, other.evaluations)
    controlled = solve(noisy, STARTS, tolerance=1e-5, density=True)
    assert (controlled.evaluations[:3] > 3 * other.evaluations[:3]).all()
    exact = 2 * torch.sin(RATES) / RATES + (1 - torch.cos(torch.tensor(60.0, dtype=torch.float64))) / 2
    assert (controlled.integral - exact).abs().max() < (other.integral - exact).abs().max() / 10


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (0.1, 0.7), (1e-3, 1.0)])
@pytest.mark.parametrize("tolerance", [1.0, 1e-2, 1e-5])
def test_no_time_outside_is_asked_for(start, end, tolerance):
    seen, rows_seen = [], []

    def watched(z, t, rows):
        seen.append(t)
        rows_seen.append(rows)
        return field(z, t, rows)

    found = solve(watched, STARTS, start, end, tolerance=tolerance)
    times = torch.cat(seen)
    assert float(times.min()) == min(start, end)
    assert float(times.max()) == max(start, end)
    counted = torch.bincount(torch.cat(rows_seen), minlength=4)
    assert torch.equal(counted, found.evaluations)
    assert found.batches == len(seen)


def test_there_and_back():
    there = solve(field, STARTS, tolerance=1e-8)
    back = solve(field, there.z, 1.0, 0.0, tolerance=1e-8)
    torch.testing.assert_close(back.z, STARTS, rtol=0, atol=1e-6)
    torch.testing.assert_close(back.integral, -there.integral, rtol=0, atol=1e-6)


def test_finished_rows_leave_the_batch():
    sizes = []

    def watched(z, t, rows):
        sizes.append(len(z))
        return field(z, t, rows)

    solve(watched, STARTS, tolerance=1e-6)
    assert sizes[0] == 4
    assert sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)


def test_a_field_in_single_precision_is_summed_in_double():
    def single(z, t, rows):
        return (v.float() for v in field(z.flatten(1).float(), t.float(), rows))

    def image(z, t, rows):
        dz, dl = single(z, t, rows)
        return dz.reshape(z.shape), dl

    found = solve(image, STARTS.float().reshape(4, 1, 2), tolerance=1e-7)
    exact = solution(STARTS.float().double(), torch.ones(4, dtype=torch.float64), RATES)
    assert found.z.dtype == found.integral.dtype == torch.float64
    torch.testing.assert_close(found.z.flatten(1), exact, rtol=0, atol=3e-5)


def test_too_many_steps_is_one_sentence():
    with pytest.raises(
        UserError, match=r"2 of 4 images did not get past t = 0\.\d+ in 30 steps at tolerance 1e-05; give"
    ):
        solve(field, STARTS, tolerance=1e-5, most_steps=30)


def test_a_field_that_is_not_finite_ends():
    with pytest.raises(UserError, match="past t = 0 in 50 steps"):
        solve(lambda z, t, rows: (z * torch.nan, t), STARTS, tolerance=1e-5, most_steps=50)
