"""What every transform promises: F(x, 0) = x exactly, the right dF/dt, and right gradients through both."""

import pytest
import safetensors.torch
import torch

from ndm.errors import UserError

FAMILIES = ("ndm.transforms",)
BATCH = 3
OBLONG = (1, 3, 5)
pytestmark = pytest.mark.parametrize("wanted", [(3,), (2, 2, 2)], ids=["vector", "image"])


@pytest.fixture
def shape(config, wanted):
    """The shape of the data: a kind that takes no vectors says so by name, and meets an oblong image instead."""
    refusal = ""
    try:
        config.build(wanted)
    except UserError as error:
        refusal = str(error)
    assert not refusal or (len(wanted) == 1 and config.kind in refusal)
    return OBLONG if refusal else wanted


def draw(shape, dtype=torch.float64):
    """x: [B, *shape] and t: [B], inside (0, 1)."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BATCH, *shape, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.tensor([0.1, 0.45, 0.9], dtype=dtype)


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_data_at_time_zero(config, shape, dtype, randomise):
    transform = randomise(config.build(shape).to(dtype))
    x, t = draw(shape, dtype)
    zero = torch.zeros_like(t)
    assert torch.equal(transform(x, zero), x)
    assert torch.equal(transform.dual(x, zero)[0], x)
    assert torch.equal(transform.path(x, [t, zero])[1], x)


def test_dual_is_the_value_and_its_derivative(config, shape, randomise, difference):
    transform = randomise(config.build(shape).double())
    x, t = draw(shape)
    value, derivative = transform.dual(x, t)
    expected = torch.func.jvp(lambda time: transform(x, time), (t,), (torch.ones_like(t),))
    close(value, expected[0])
    close(derivative, expected[1])
    close(value, transform(x, t))
    close(derivative, difference(lambda time: transform(x, time), t), 1e-8)


def test_path_is_the_values_one_by_one(config, shape, randomise):
    transform = randomise(config.build(shape).double())
    x, t = draw(shape)
    times = [t, t.flip(0), t / 2]
    values = transform.path(x, times)
    assert len(values) == len(times)
    for value, time in zip(values, times, strict=True):
        close(value, transform(x, time))


def test_gradients_through_value_and_derivative(config, shape, randomise, double_vjp):
    transform = randomise(config.build(shape).double())
    x, t = draw(shape)
    x.requires_grad_()
    wrt = [x, *transform.parameters()]

    def gradients(value, derivative):
        scalar = (value.square() * 0.7 + (value - derivative).square()).sum()
        return torch.autograd.grad(scalar, wrt)

    expected = gradients(transform(x, t), double_vjp(lambda time: transform(x, time), t))
    for a, b in zip(gradients(*transform.dual(x, t)), expected, strict=True):
        assert a.isfinite().all()
        assert a.abs().max() > 1e-8
        close(a, b, 1e-10)


def test_rows_of_a_batch_are_independent(config, shape, randomise):
    transform = randomise(config.build(shape).double())
    x, t = draw(shape)
    together = transform.dual(x, t)
    for i in range(BATCH):
        for whole, alone in zip(together, transform.dual(x[i : i + 1], t[i : i + 1]), strict=True):
            close(whole[i : i + 1], alone)


def test_state_round_trip(config, shape, randomise):
    transform, other = randomise(config.build(shape)), config.build(shape)
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(transform.state_dict())))
    x, t = draw(shape, torch.float32)
    for a, b in zip(transform.dual(x, t), other.dual(x, t), strict=True):
        assert a.dtype == torch.float32
        assert a.shape == x.shape
        assert torch.equal(a, b)
