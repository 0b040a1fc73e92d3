"""What every schedule promises: end points, gamma = log(sigma^2 / alpha^2), and exact time derivatives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

FAMILIES = ("ndm.schedules",)
SHAPE = (2, 3)
"""Shape of one example: what schedules per dimension add to the shape of t."""
INSIDE = torch.linspace(0.02, 0.98, 13, dtype=torch.float64)


def close(a, b, tolerance):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@settings(deadline=None, max_examples=25)
@given(gamma_min=st.floats(-15, 3), gap=st.floats(0.5, 25), t=st.floats(0, 1))
def test_ends_and_signs(config, gamma_min, gap, t):
    config = config.model_copy(update={"gamma_min": gamma_min, "gamma_max": gamma_min + gap})
    value = config.build(SHAPE).double()(torch.tensor([0.0, t, 1.0], dtype=torch.float64))
    for i, end in ((0, gamma_min), (2, gamma_min + gap)):
        close(value.gamma[i], torch.full_like(value.gamma[i], end), 1e-12)
    assert (value.alpha > 0).all()
    assert (value.sigma > 0).all()
    assert (value.d_gamma > 0).all()
    assert (value.d_alpha <= 0).all()
    assert (value.d_sigma >= 0).all()
    close(value.gamma, 2 * (value.sigma.log() - value.alpha.log()), 1e-12)
    close(value.d_gamma, 2 * (value.d_sigma / value.sigma - value.d_alpha / value.alpha), 1e-10)


@pytest.mark.parametrize("seed", range(8))
def test_gamma_increases_whatever_the_parameters(config, seed, randomise):
    schedule = randomise(config.build(SHAPE).double(), scale=3.0, seed=seed)
    value = schedule(torch.linspace(0, 1, 1001, dtype=torch.float64))
    assert (value.gamma.diff(dim=0) > 0).all()
    assert (value.d_gamma > 0).all()


def test_parameters_leave_the_ends_unless_they_are_the_ends(config, randomise):
    start, end = randomise(config.build(SHAPE).double())(torch.tensor([0.0, 1.0], dtype=torch.float64)).gamma
    error = (start - config.gamma_min).abs() + (end - config.gamma_max).abs()
    assert bool((error < 1e-12).all()) is not getattr(config, "learn_endpoints", False)


def test_time_derivatives_are_those_of_the_values(config, randomise, difference):
    schedule = randomise(config.build(SHAPE).double())
    for name in ("alpha", "sigma", "gamma"):
        written = getattr(schedule(INSIDE), f"d_{name}")
        close(written, difference(lambda t, name=name: getattr(schedule(t), name), INSIDE), 1e-6)
        forward = torch.func.jvp(
            lambda t, name=name: getattr(schedule(t), name), (INSIDE,), (torch.ones_like(INSIDE),)
        )[1]
        close(written, forward, 1e-11)


def test_gradients_in_time_and_parameters(config, randomise):
    schedule = randomise(config.build(SHAPE).double())
    names = [name for name, parameter in schedule.named_parameters() if parameter.requires_grad]
    parameters = [schedule.get_parameter(name) for name in names]

    def value(t, *parameters):
        changed = dict(zip(names, parameters, strict=True))
        return tuple(torch.func.functional_call(schedule, changed, (t,)))

    t = INSIDE[2::4].clone().requires_grad_()
    torch.autograd.gradcheck(value, (t, *parameters), rtol=1e-5, atol=1e-7)
    gamma, d_gamma = value(t, *parameters)[4:]
    for gradient in torch.autograd.grad((gamma * d_gamma).sum(), [t, *parameters]):
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 1e-8


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_shape_and_single_precision(config, shape):
    t = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    single, double = config.build(SHAPE)(t), config.build(SHAPE).double()(t.double())
    for a, b in zip(single, double, strict=True):
        assert a.shape in (shape, (*shape, *SHAPE))
        assert a.dtype == torch.float32
        close(a.double(), b, 1e-5)
