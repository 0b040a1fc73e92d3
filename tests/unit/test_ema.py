"""The averaged weights: the formula, and that nothing is shared with the weights they follow."""

import pytest
import torch

from ndm.training.ema import Ema


def test_average_follows_the_formula(tiny):
    """avg <- d avg + (1 - d) w with d_n = min(decay, (1 + n) / (10 + n)): 2/11, 3/12, then decay."""
    objective = tiny("continuous")
    ema = Ema(objective, decay=0.3)
    names = [name for name, _ in objective.named_parameters()]
    expected = {name: parameter.detach().clone() for name, parameter in objective.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    for n, d in ((1, 2 / 11), (2, 3 / 12), (3, 0.3), (50, 0.3)):
        with torch.no_grad():
            for name, parameter in objective.named_parameters():
                parameter += torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                expected[name] = d * expected[name] + (1 - d) * parameter
        ema.update(objective, n)
        averages = dict(ema.objective.named_parameters())
        assert list(averages) == names
        for name, value in expected.items():
            torch.testing.assert_close(averages[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("decay", "step", "share"), [(0.9999, 1, 9 / 11), (0.9999, 90, 9 / 100), (0.0, 5, 1.0)])
def test_the_first_steps_forget_the_start(tiny, decay, step, share):
    """The average moves by 1 - d_n of the way, 9 / (10 + n) until the decay rules."""
    objective = tiny("discrete", steps=4)
    ema = Ema(objective, decay)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter += 1
    before = [parameter.clone() for parameter in ema.objective.parameters()]
    ema.update(objective, step)
    for old, new in zip(before, ema.objective.parameters(), strict=True):
        torch.testing.assert_close(new - old, torch.full_like(old, share), rtol=1e-9, atol=1e-9)


def test_the_copy_shares_nothing_and_is_not_trained(tiny):
    objective = tiny("continuous")
    ema = Ema(objective, 0.9)
    start = {name: value.clone() for name, value in ema.objective.state_dict().items()}
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.zero_()
    assert all(torch.equal(value, start[name]) for name, value in ema.objective.state_dict().items())
    assert not any(parameter.requires_grad for parameter in ema.objective.parameters())
    assert any(parameter.requires_grad for parameter in objective.parameters())
