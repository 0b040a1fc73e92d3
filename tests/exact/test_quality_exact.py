"""Sample quality against closed forms: Gaussians, lines and sums written out."""

import itertools
import math
import statistics

import pytest
import torch

from ndm.likelihood.statistics import mean
from ndm.quality.distances import squared_distances
from ndm.quality.frechet import between, frechet, gaussian
from ndm.quality.kernel_distance import cubic, kernel_distance
from ndm.quality.mmd import Gaussian, gaussian_of, mmd_squared
from ndm.quality.moments import Moments, moments
from ndm.quality.precision_recall import covered, precision_recall, radii_squared
from ndm.quality.sliced_wasserstein import floor, sliced_wasserstein, wasserstein_squared


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Sliced Wasserstein


def test_on_a_line_the_distance_is_that_of_sorted_values():
    a, b = normal(3, 50), 0.5 * normal(3, 50, seed=1) + 2
    expected = (a.sort().values - b.sort().values).square().mean(1)
    torch.testing.assert_close(wasserstein_squared(a, b), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(4, 6), (5, 7), (9, 3), (1, 8)])
def test_unequal_counts_are_those_of_the_samples_repeated_to_equal_ones(n, m):
    a, b = normal(2, n), normal(2, m, seed=1)
    expected = wasserstein_squared(a.repeat_interleave(m, 1), b.repeat_interleave(n, 1))
    torch.testing.assert_close(wasserstein_squared(a, b), expected, rtol=1e-12, atol=1e-12)


def test_unequal_counts_by_hand():
    # F^-1 is 0, 1 on halves; G^-1 is 0, 1, 2 on thirds: gaps 0, 1, 0, 1 on widths 1/3, 1/6, 1/6, 1/3.
    found = wasserstein_squared(torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[2.0, 0.0, 1.0]]).double())
    assert found.item() == pytest.approx(1 / 2, abs=1e-15)


def test_in_one_dimension_every_direction_is_the_line():
    x, y = normal(40, 1), 3 * normal(25, 1, seed=1)
    found = sliced_wasserstein(x, y, seed=0, directions=5)
    assert found.value == pytest.approx(wasserstein_squared(x.T, y.T).item() ** 0.5, rel=1e-12)
    assert found.error == pytest.approx(0, abs=1e-12)


def test_a_shift_by_m_is_at_distance_m_over_root_d():
    # <theta, m>^2 in every direction, |m|^2 / D on average: the closed form for N(0, s^2 I) and N(m, s^2 I).
    x, shift = 0.7 * normal(64, 5), torch.tensor([1.0, -2.0, 0.0, 2.0, 4.0])
    found = sliced_wasserstein(x, x.flip(0) + shift, seed=0, directions=4000)
    assert found.error < 0.02
    assert abs(found.value - 5 / math.sqrt(5)) < 3 * found.error


def test_gaussians_of_two_widths():
    # W_2 between N(0, s^2) and N(0, r^2) is |s - r| in every direction; quantiles stand for the Gaussian on a line.
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(20000) + 0.5).double() / 20000)[None]
    assert wasserstein_squared(0.4 * quantiles, 1.5 * quantiles).item() == pytest.approx(1.1**2, rel=1e-3)
    found = sliced_wasserstein(0.4 * normal(20000, 6), 1.5 * normal(15000, 6, seed=1), seed=0, directions=64)
    assert found.value == pytest.approx(1.1, abs=0.02)


def test_the_floor_is_what_a_second_sample_of_the_reference_law_gives():
    reference = normal(1200, 4)
    found = [sliced_wasserstein(normal(300, 4, seed=s), reference, seed=0, directions=128).value for s in range(1, 13)]
    expected = floor(normal(300, 4, seed=1), reference, seed=0).value
    assert expected == pytest.approx(statistics.fmean(found), rel=0.15)


# MMD


def written_out(x, y, kernel):
    def average(a, b, different):
        pairs = itertools.product(range(len(a)), range(len(b)))
        return statistics.fmean(kernel(a[[i]], b[[j]]).item() for i, j in pairs if not different or i != j)

    return average(x, x, True) + average(y, y, True) - 2 * average(x, y, False)


@pytest.mark.parametrize("kernel", [Gaussian((0.5, 2.0)), cubic])
def test_the_estimate_is_the_sum_over_pairs_written_out(kernel):
    x, y = normal(7, 2, 2), normal(5, 2, 2, seed=1) + 0.3
    expected = written_out(x.flatten(1), y.flatten(1), kernel)
    for block in (1, 2, 3, 100):
        assert mmd_squared(x, y, kernel, block=block).value == pytest.approx(expected, abs=1e-13)


def test_the_error_is_the_jackknife_written_out_whatever_the_blocks():
    x, y, kernel = normal(6, 2), normal(5, 2, seed=1), Gaussian((1.0,))
    without_x = [mmd_squared(torch.cat([x[:i], x[i + 1 :]]), y, kernel).value for i in range(6)]
    without_y = [mmd_squared(x, torch.cat([y[:i], y[i + 1 :]]), kernel).value for i in range(5)]
    variance = sum(
        (len(w) - 1) * torch.tensor(w, dtype=torch.float64).var(correction=0).item() for w in (without_x, without_y)
    )
    for block in (2, 100):
        assert mmd_squared(x, y, kernel, block=block).error == pytest.approx(math.sqrt(variance), rel=1e-9)


def mmd_of_gaussians(d, s, r, shift, v):
    """MMD^2 of N(0, s^2 I) and N(m, r^2 I) in d dimensions, kernel exp(-|x - y|^2 / (2 v))."""

    def expected_kernel(variance, squared_shift):
        return (v / (v + variance)) ** (d / 2) * math.exp(-squared_shift / (2 * (v + variance)))

    squared = sum(m * m for m in shift)
    return expected_kernel(2 * s * s, 0) + expected_kernel(2 * r * r, 0) - 2 * expected_kernel(s * s + r * r, squared)


@pytest.mark.parametrize(("r", "shift"), [(0.8, (0.0, 0.0, 0.0)), (1.3, (0.5, -0.2, 0.1))])
def test_mmd_of_gaussians_is_the_closed_form_and_its_error_is_its_spread(r, shift):
    # 150 independent estimates: their mean is the closed form, their spread is what one of them claims.
    variances = (0.5, 3.0)
    expected = statistics.fmean(mmd_of_gaussians(3, 0.8, r, shift, v) for v in variances)
    found = [
        mmd_squared(
            0.8 * normal(80, 3, seed=2 * i),
            r * normal(60, 3, seed=2 * i + 1) + torch.tensor(shift),
            Gaussian(variances),
        )
        for i in range(150)
    ]
    values = torch.tensor([estimate.value for estimate in found]).double()
    average = mean(values)
    assert abs(average.value - expected) < 3 * average.error
    claimed = statistics.fmean(estimate.error for estimate in found)
    assert 0.85 < claimed / values.std().item() < 1.6


def test_the_bandwidth_is_the_median_of_the_reference():
    reference = torch.tensor([[0.0], [1.0], [3.0], [3.0]])  # non-zero squared distances 1, 4, 4, 9, 9
    assert gaussian_of(reference, seed=0) == Gaussian((1.0, 4.0, 16.0))


# KID


def test_the_kid_of_known_moments():
    # x = +-1, +1 with probability 3/4: two agree, and k is 8 and not 0, with probability 5/8. Against y = 0 k is 1.
    signs = torch.where(torch.arange(10_000) % 4 > 0, 1.0, -1.0).double()[:, None]
    found = kernel_distance(signs, torch.zeros_like(signs), seed=0)
    assert found.error < 0.05
    assert abs(found.value - (8 * 5 / 8 + 1 - 2)) < 3 * found.error


# Moments and the Fréchet distance


def test_merged_moments_are_those_of_one_pass_far_from_the_origin():
    x = normal(101, 6) @ normal(6, 6, seed=1) + 1e6
    found = moments([x[:1], x[1:40], x[40:42], x[42:]])
    assert found.size == 101
    torch.testing.assert_close(found.mean, x.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(found.covariance, torch.cov(x.T), rtol=1e-8, atol=1e-8)
    halves = moments([x[:60].float(), x[60:].float()])
    assert halves.covariance.dtype == torch.float64


def spread(mean, covariance):
    return gaussian(Moments(2, mean.double(), covariance.double()))


def test_the_distance_of_a_gaussian_from_itself_is_zero():
    half = normal(8, 5)  # rank 5 of 8: the rounding of eigenvalues that are zero must not show
    p = spread(normal(8), half @ half.T)
    assert between(p, p).value < 1e-13


def test_commuting_covariances():
    # |m - n|^2 + sum of (sqrt a_i - sqrt b_i)^2 in the common eigenvectors, with zeros among the eigenvalues.
    basis = torch.linalg.qr(normal(4, 4)).Q
    a, b = torch.tensor([4.0, 1.0, 0.0, 0.25]).double(), torch.tensor([9.0, 0.0, 0.0, 0.04]).double()
    m, n = normal(4, seed=1), normal(4, seed=2)
    p, q = (spread(centre, basis @ torch.diag(e) @ basis.T) for centre, e in ((m, a), (n, b)))
    expected = (m - n).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert between(p, q).value == pytest.approx(expected.item(), rel=1e-12)


def test_no_digits_are_lost_to_the_square_of_a_product():
    # Eigenvalues down to 1e-7: those of the product's square reach 1e-14, where their roots have few digits left.
    basis, a = torch.linalg.qr(normal(40, 40)).Q, torch.logspace(0, -7, 40, dtype=torch.float64)
    p, q = (spread(torch.zeros(40), (basis * eigenvalues) @ basis.T) for eigenvalues in (a, a / 4))
    assert between(p, q).value == pytest.approx(a.sum().item() / 4, abs=2e-12)


def test_two_by_two_covariances_that_do_not_commute():
    # tr (S R)^1/2 = sqrt(tr S R + 2 sqrt(det S det R)) in two dimensions.
    s, r = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double(), torch.tensor([[1.0, -0.8], [-0.8, 3.0]]).double()
    root = (torch.trace(s @ r) + 2 * (torch.det(s) * torch.det(r)).sqrt()).sqrt()
    expected = torch.trace(s) + torch.trace(r) - 2 * root
    origin = torch.zeros(2)
    assert between(spread(origin, s), spread(origin, r)).value == pytest.approx(expected.item(), rel=1e-12)


def test_the_transport_map_carries_one_covariance_to_the_other():
    s, r = (half @ half.T for half in (normal(4, 4), normal(4, 4, seed=1)))
    there = between(spread(normal(4), s), spread(normal(4), r))
    torch.testing.assert_close(there.forth @ s @ there.forth, r, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(there.back @ r @ there.back, s, rtol=1e-9, atol=1e-9)


def test_the_error_of_a_frechet_distance_is_its_spread():
    found = [frechet(normal(4000, 3, seed=2 * i), 1.2 * normal(3000, 3, seed=2 * i + 1) + 0.5) for i in range(60)]
    values = torch.tensor([estimate.value for estimate in found])
    claimed = torch.tensor([estimate.error for estimate in found])
    assert values.mean().item() == pytest.approx(3 * 0.5**2 + 3 * 0.2**2, rel=0.03)
    assert 0.75 < claimed.mean().item() / values.std().item() < 1.4


# Precision and recall


@pytest.mark.parametrize("block", [1, 3, 100])
def test_precision_and_recall_by_hand(block):
    # Balls of the reference (k = 1) have radii 1, 1, 1, 8: 0.5 and 5 lie inside, 19 and -3 do not.
    # Balls of the samples -3, 0.5, 5, 19 have radii 3.5, 3.5, 4.5, 14: they reach all of the reference.
    reference = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    samples = torch.tensor([[0.5], [5.0], [19.0], [-3.0]])
    assert radii_squared(reference, 1, "cpu", block).tolist() == [1, 1, 1, 64]
    found = precision_recall(samples, reference, k=1, block=block)
    assert (found.precision.value, found.recall.value) == (0.5, 1.0)
    assert found.precision.error == pytest.approx(math.sqrt(0.25 / 3), rel=1e-12)


@pytest.mark.parametrize("block", [7, 2048])
def test_radii_are_distances_to_the_third_neighbour(block):
    x = normal(50, 4)
    expected = torch.cdist(x, x).kthvalue(4).values.square()
    torch.testing.assert_close(radii_squared(x, 3, "cpu", block), expected, rtol=1e-9, atol=1e-9)


def test_the_centre_of_a_ball_without_radius_is_in_it_whatever_the_rounding():
    x = 1e6 + normal(30, 30)
    assert (squared_distances(x, x).diagonal() > 0).any()
    assert covered(x, x, torch.zeros(30).double(), "cpu", 7).all()


def test_copies_are_inside_though_their_balls_are_points():
    x = (1e6 + normal(5, 30)).repeat(6, 1)
    found = precision_recall(x, x.flip(0), block=7)
    assert (found.precision.value, found.recall.value) == (1.0, 1.0)
