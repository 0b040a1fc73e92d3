"""What every head promises: a target a x + b eps of order one, whose prediction gives x back exactly."""

import pytest
import torch

from ndm import schedules
from ndm.registry import kinds, variant

FAMILIES = ("ndm.heads",)
TIMES = torch.tensor([0.0, 0.3, 0.6, 1.0], dtype=torch.float64)[:, None]
TARGETS = {
    "x0": lambda value: (torch.ones_like(value.alpha), torch.zeros_like(value.alpha)),
    "epsilon": lambda value: (torch.zeros_like(value.alpha), torch.ones_like(value.alpha)),
    "v": lambda value: (-value.sigma, value.alpha),
}


@pytest.fixture(params=kinds("ndm.schedules"))
def value(request) -> schedules.ScheduleValue:
    """A schedule at TIMES, [4, 1]."""
    with torch.no_grad():
        return variant("ndm.schedules", request.param).Config().build(()).double()(TIMES)


def target(head, value):
    """(a, b) such that the output a x + b eps at z = alpha x + sigma eps gives x: heads are linear."""
    one, zero = torch.ones_like(value.alpha), torch.zeros_like(value.alpha)
    of_output, of_z = head(one, zero, value), head(zero, one, value)
    return (1 - of_z * value.alpha) / of_output, -of_z * value.sigma / of_output


def test_the_true_target_gives_the_data(config, value):
    head = config.build()
    a, b = target(head, value)
    generator = torch.Generator().manual_seed(2)
    x, epsilon = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    x_hat = head(a * x + b * epsilon, value.alpha * x + value.sigma * epsilon, value)
    torch.testing.assert_close(x_hat, x, rtol=1e-11, atol=1e-11)


def test_the_target_is_of_order_one(config, value):
    a, b = target(config.build(), value)
    size = (a.square() + b.square()).sqrt()
    assert (size > 0.1).all()
    assert (size < 2).all()


@pytest.mark.parametrize("kind", TARGETS)
def test_the_usual_targets(kind, value):
    expected = TARGETS[kind](value)
    for actual, known in zip(target(variant("ndm.heads", kind).Config().build(), value), expected, strict=True):
        torch.testing.assert_close(actual, known, rtol=1e-9, atol=1e-9)
