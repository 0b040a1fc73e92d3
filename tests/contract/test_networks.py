"""What every network promises: its output's shape, zeros at first, forward mode in t with right gradients."""

import pytest
import safetensors.torch
import torch

from ndm import dual
from ndm.errors import UserError

FAMILIES = ("ndm.networks",)
BATCH, SHAPE = 3, (2, 4, 4)


def draw(shape=SHAPE, dtype=torch.float64):
    """x: [B, *shape] and t: [B], inside (0, 1)."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(BATCH, *shape, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.tensor([0.1, 0.45, 0.9], dtype=dtype)


def close(a, b, tolerance=1e-11):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_shape_and_zero_at_the_start(config, outputs, timed, dtype):
    network = config.build(SHAPE, outputs=outputs, timed=timed).to(dtype)
    y = network(*draw(dtype=dtype))
    assert y.dtype == dtype
    assert torch.equal(y, torch.zeros(BATCH, outputs * SHAPE[0], *SHAPE[1:], dtype=dtype))


@pytest.mark.parametrize("shape", [(2,), (1, 1, 1), (1, 5, 3), (3, 6, 6)])
def test_a_shape_of_data_works_or_is_refused_by_name(config, shape, randomise):
    try:
        network, refusal = randomise(config.build(shape).double()), ""
    except UserError as error:
        network, refusal = None, str(error)
    if network is None:
        assert config.kind in refusal
        return
    x, t = draw(shape)
    y = network(x, t)
    assert y.shape == x.shape
    assert not torch.allclose(y, network(2 * x + 0.5, t))


def test_only_a_timed_network_sees_time(config, randomise):
    x, t = draw()
    timed, timeless = (randomise(config.build(SHAPE, timed=timed).double()) for timed in (True, False))
    assert torch.equal(timeless(x, t), timeless(x, 1 - t))
    assert (timed(x, t) - timed(x, 1 - t)).abs().max() > 1e-3


def test_forward_mode_in_time_and_gradients_through_it(config, randomise, difference, double_vjp):
    network = randomise(config.build(SHAPE).double())
    x, t = draw()
    x.requires_grad_()
    wrt = [x, *network.parameters()]
    value, derivative = torch.func.jvp(lambda time: network(x, time), (t,), (torch.ones_like(t),))
    expected = double_vjp(lambda time: network(x, time), t)
    close(value, network(x, t))
    close(derivative, expected)
    with torch.no_grad():
        close(derivative.detach(), difference(lambda time: network(x, time), t), 1e-6)
    actual, reference = (
        torch.autograd.grad((network(x, t) * d + d.square()).sum(), wrt) for d in (derivative, expected)
    )
    for a, b in zip(actual, reference, strict=True):
        assert a.isfinite().all()
        assert a.abs().max() > 1e-8
        close(a, b, 1e-9)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("moving", [False, True], ids=["time", "data and time"])
def test_the_stacked_pass_is_forward_mode(config, timed, moving, randomise):
    """Value, tangent and their gradients, by the rules of `ndm.dual` and without falling back on torch.func.jvp."""
    network = randomise(config.build(SHAPE, outputs=2, timed=timed).double())
    x, t = draw()
    wrt = [x.requires_grad_(), *network.parameters()]
    tangents = (x.detach().cos() if moving else None, torch.ones_like(t))
    results = []
    for way in (dual.stacked, dual.forward_mode):
        value, derivative = way(network, (x, t), tangents)
        gradients = torch.autograd.grad((value.sin() + value * derivative + derivative.square()).sum(), wrt)
        results.append([value, derivative, *gradients])
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-12 * max(1, float(expected.detach().abs().max())))
        assert not (timed or moving) or own.abs().max() > 1e-8


def test_rows_of_a_batch_are_independent(config, randomise):
    network = randomise(config.build(SHAPE).double())
    x, t = draw()
    together = network(x, t)
    for i in range(BATCH):
        close(together[i : i + 1], network(x[i : i + 1], t[i : i + 1]))


def test_state_round_trip(config, randomise):
    network, other = randomise(config.build(SHAPE, outputs=2)), config.build(SHAPE, outputs=2)
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(network.state_dict())))
    assert torch.equal(network(*draw(dtype=torch.float32)), other(*draw(dtype=torch.float32)))
