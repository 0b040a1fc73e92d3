"""What every head promises: a target a y + b eps of order one, whose prediction gives y back exactly.

y is what the head estimates first: x of a head for the data, F of one for the pair, tau of one for the drift.
"""

import pytest
import torch

from ndm import schedules
from ndm.heads import DataHead, DriftHead, PairHead
from ndm.registry import kinds, variant

FAMILIES = ("ndm.heads",)
TIMES = torch.tensor([0.0, 0.3, 0.6, 1.0], dtype=torch.float64)[:, None]
ONE = torch.ones((), dtype=torch.float64)
TARGETS = {
    "x0": lambda value: (torch.ones_like(value.alpha), torch.zeros_like(value.alpha)),
    "epsilon": lambda value: (torch.zeros_like(value.alpha), torch.ones_like(value.alpha)),
    "v": lambda value: (-value.sigma, value.alpha),
    "velocity": lambda value: (-torch.ones_like(value.alpha), torch.ones_like(value.alpha)),
}
TARGETS |= dict.fromkeys(["direct", "diffenc", "drift"], TARGETS["v"])


@pytest.fixture(params=kinds("ndm.schedules"))
def value(request) -> schedules.ScheduleValue:
    """A schedule at TIMES, [4, 1]."""
    with torch.no_grad():
        return variant("ndm.schedules", request.param).Config().build(()).double()(TIMES)


def estimate(head, output, z, value):
    """y_hat; further outputs of the network are as the first."""
    output = output.repeat(1, head.outputs)
    match head:
        case DataHead():
            return head(output, z, value)
        case PairHead():
            return head(output, z, value)[0]
        case DriftHead():
            return head(output, z, value, ONE)


def target(head, value):
    """(a, b) such that the output a y + b eps at z = alpha y + sigma eps gives y: heads are linear."""
    one, zero = torch.ones_like(value.alpha), torch.zeros_like(value.alpha)
    of_output, of_z = estimate(head, one, zero, value), estimate(head, zero, one, value)
    return (1 - of_z * value.alpha) / of_output, -of_z * value.sigma / of_output


def test_the_true_target_gives_the_data(config, value):
    head = config.build()
    a, b = target(head, value)
    generator = torch.Generator().manual_seed(2)
    y, epsilon = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    found = estimate(head, a * y + b * epsilon, value.alpha * y + value.sigma * epsilon, value)
    torch.testing.assert_close(found, y, rtol=1e-11, atol=1e-11)


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
