"""The averages of chosen widths: their exponents, what they weigh, and any width made of kept ones afterwards."""

import math

import pytest
import torch
from torch import nn

from ndm.errors import UserError
from ndm.training.posthoc import Profile, combine, fit, product
from ndm.training.profiles import NARROWEST, WIDEST, Profiles, exponent, part_name, relative_width, width_of

WIDTHS = [NARROWEST, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, WIDEST]


class Weights(nn.Module):
    """Two parameters, one of them not trained, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        self.fixed = nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)
        self.register_buffer("buffer", torch.ones(1))


def trajectory(steps: int) -> torch.Tensor:
    """[steps, 3]: a drift, a slow turn, and a random walk."""
    t = torch.arange(1, steps + 1, dtype=torch.float64)
    walk = torch.randn(steps, generator=torch.Generator().manual_seed(2), dtype=torch.float64).cumsum(0) / steps**0.5
    return torch.stack([(t / steps).sqrt(), torch.sin(9 * t / steps), walk], dim=1)


def followed(values: torch.Tensor, widths: list[float], kept: set[int]) -> dict[int, dict[float, torch.Tensor]]:
    """The averages of a trajectory by width, after each of the steps that are `kept`."""
    module, found = Weights(), {}
    profiles = Profiles(module, widths)
    for step, value in enumerate(values, start=1):
        with torch.no_grad():
            module.a.copy_(value)
        profiles.update(module, step)
        if step in kept:
            found[step] = {width: average["a"].clone() for width, average in profiles.averages.items()}
    return found


@pytest.mark.parametrize("width", WIDTHS)
def test_the_exponent_has_the_width(width):
    """There and back, and against the standard deviation of the density on a fine grid (midpoints, error 1e-7)."""
    gamma = exponent(width)
    assert relative_width(gamma) == pytest.approx(width, rel=1e-12)
    n = 200_000
    t = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    density = (gamma + 1) * t**gamma / n
    mean = (density * t).sum()
    assert float(density.sum()) == pytest.approx(1, abs=1e-6)
    assert math.sqrt(float((density * (t - mean) ** 2).sum())) == pytest.approx(width, rel=1e-6)


def test_known_exponents():
    assert exponent(1 / math.sqrt(12)) == pytest.approx(0, abs=1e-6)  # the plain mean of all steps
    assert exponent(0.05) == pytest.approx(16.97, abs=0.005)  # section 3.1 of the paper gives 16.97 and 6.94
    assert exponent(0.1) == pytest.approx(6.94, abs=0.005)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_running_average_is_the_sum_with_the_profile_as_weights(width):
    steps = 300
    values, power = trajectory(steps), exponent(width) + 1
    edges = (torch.arange(steps + 1, dtype=torch.float64) / steps) ** power
    weights = edges.diff()
    assert float(weights.sum()) == pytest.approx(1, abs=1e-14)
    expected = (weights[:, None] * values).sum(0)
    torch.testing.assert_close(followed(values, [width], {steps})[steps][width], expected, rtol=0, atol=1e-13)


def test_the_first_step_leaves_nothing_of_the_start():
    values = trajectory(1)
    assert torch.equal(followed(values, [0.05], {1})[1][0.05], values[0])


def test_products_of_profiles_are_their_integrals():
    """Midpoints of 200,000 intervals: 1e-6 of each other, for profiles that end together and one before the other."""
    n = 200_000
    t = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 8
    for a, b in [((8, 3.0), (8, 6.9)), ((8, 17.0), (5, 6.9)), ((2, 0.5), (8, 40.0)), ((3, 7.0), (3, 7.0))]:
        first, second = (Profile(*p) for p in (a, b))
        value = [torch.where(t <= p.end, (p.gamma + 1) * (t / p.end) ** p.gamma / p.end, 0.0) for p in (first, second)]
        assert product(first, second) == product(second, first)
        assert product(first, second) == pytest.approx(float((value[0] * value[1]).sum() * 8 / n), rel=1e-4)


def test_a_kept_profile_is_found_again():
    kept = [Profile(end, gamma) for end in (1, 2, 3, 4) for gamma in (6.9, 17.0)]
    found = fit(kept, kept[-2])
    expected = torch.zeros(8, dtype=torch.float64)
    expected[-2] = 1
    torch.testing.assert_close(found.coefficients, expected, rtol=0, atol=1e-6)
    assert found.error < 1e-7


@pytest.mark.parametrize(("width", "profile", "weights"), [(0.06, 1e-3, 1e-5), (0.08, 1e-3, 1e-5), (0.15, 3e-3, 5e-5)])
def test_any_width_is_made_of_two_that_were_kept(width, profile, weights):
    """32 snapshots of 0.05 and 0.1; against the average tracked directly, of weights whose range is 1 to 2."""
    steps, every = 4096, 128
    values = trajectory(steps)
    kept = followed(values, [0.05, 0.1], set(range(every, steps + 1, every)))
    direct = followed(values, [width], {steps})[steps][width]
    profiles = [Profile(step, exponent(w)) for step in sorted(kept) for w in kept[step]]
    found = fit(profiles, Profile(steps, exponent(width)))
    made = combine(({"a": kept[step][w]} for step in sorted(kept) for w in kept[step]), found.coefficients)["a"]
    assert found.error < profile
    assert float((made - direct).abs().max()) < weights
    for average in kept[steps].values():  # neither of the two would do
        assert float((average - direct).abs().max()) > 100 * weights


def test_what_all_averages_agree_on_stays():
    """The coefficients have the sum one, also where the profile is missed by far."""
    for end, gamma in ((4, 3.0), (4, 60.0), (4, 0.2)):
        found = fit([Profile(1, 6.9), Profile(4, 6.9), Profile(4, 17.0)], Profile(end, gamma))
        assert float(found.coefficients.sum()) == pytest.approx(1, abs=1e-12)
    assert found.error > 0.1


def test_many_nearly_dependent_averages_do_not_blow_up():
    kept = [Profile(end, exponent(width)) for end in range(1, 257) for width in (0.05, 0.1)]
    found = fit(kept, Profile(256, exponent(0.08)))
    assert found.error < 1e-3
    assert float(found.coefficients.abs().max()) < 100


def test_they_are_not_shared_with_the_weights_and_come_back():
    module = Weights()
    profiles = Profiles(module, [0.05, 0.1])
    with torch.no_grad():
        module.a.add_(1)
    assert all(float(average["a"].abs().max()) == 0 for average in profiles.averages.values())
    profiles.update(module, 1)
    assert list(profiles.tensors()) == ["ema_0.050", "ema_0.100"]
    other = Profiles(Weights(), [0.1])
    other.load(profiles.tensors())
    assert torch.equal(other.averages[0.1]["a"], module.a)
    other.update(Weights(), 2)
    assert not torch.equal(other.averages[0.1]["a"], profiles.averages[0.1]["a"])


def test_a_width_that_was_not_averaged_from_the_start_is_refused_by_name():
    kept = Profiles(Weights(), [0.05]).tensors()
    with pytest.raises(UserError, match=r"ema_widths asks for 0\.1, .* \(it has 0\.05\); .*--fresh"):
        Profiles(Weights(), [0.05, 0.1]).load(kept)
    with pytest.raises(UserError, match=r"it has none"):
        Profiles(Weights(), [0.1]).load({"model": {}, "ema": {}})


def test_names_of_parts():
    assert [width_of(part_name(width)) for width in WIDTHS] == WIDTHS
    assert [width_of(name) for name in ("ema", "model", "optimizer")] == [None] * 3
