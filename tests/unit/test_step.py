"""One training step: the randomness of a global batch, gradients whatever the portions, clipping and the update."""

import copy

import pytest
import torch

from ndm.objectives import Noise
from ndm.training.ema import Ema
from ndm.training.optimizer import OptimizerConfig
from ndm.training.state import State
from ndm.training.step import Slots, noise, step

BATCH = 12


def fresh(objective, **keys):
    objective = copy.deepcopy(objective)
    return State(objective, OptimizerConfig(**keys).build(objective), Ema(objective, 0.9))


def data():
    """x: [12, 2] and its noise, float64."""
    x = torch.randn(BATCH, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return x, Noise(*(part.double() for part in noise(3, Slots(24, BATCH, 0, BATCH), (2,))))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_share_out_one_global_draw(workers):
    """Slices by rank, put together, are the global batch bit for bit; the next batch is another one."""
    whole = noise(7, Slots(120, BATCH, 0, BATCH), (2, 3))
    part = BATCH // workers
    slices = [noise(7, Slots(120, BATCH, rank * part, part), (2, 3)) for rank in range(workers)]
    for name in Noise._fields:
        assert torch.equal(torch.cat([getattr(one, name) for one in slices]), getattr(whole, name))
    after = noise(7, Slots(120 + BATCH, BATCH, 0, BATCH), (2, 3))
    assert not any(torch.equal(a, b) for a, b in zip(whole, after, strict=True))
    assert [tuple(values.shape) for values in whole] == [(BATCH,), (BATCH, 2, 3), (BATCH, 2, 3)]


def test_times_are_one_grid_over_the_global_batch():
    """u_i = frac(u_0 + i / B): sorted they lie 1 / B apart, the offset is uniform, and each u_i too."""
    offsets = []
    for batch in range(400):
        u = noise(1, Slots(batch * BATCH, BATCH, 0, BATCH), ()).u
        assert u.dtype == torch.float64
        assert ((u >= 0) & (u < 1)).all()
        torch.testing.assert_close(u.sort().values.diff(), torch.full((BATCH - 1,), 1 / BATCH, dtype=u.dtype))
        offsets.append(float(u[0]))
    assert sum(offsets) / 400 == pytest.approx(0.5, abs=0.06)
    assert sum(offset < 0.1 for offset in offsets) == pytest.approx(40, abs=20)


def test_noise_follows_the_example_not_the_batch_size():
    """Example 24 + 5 gets the same epsilon in a batch of 12 and in two of 6; only the grid of times is the batch's."""
    large = noise(7, Slots(24, 12, 0, 12), (2,))
    small = noise(7, Slots(30, 6, 0, 6), (2,))
    assert torch.equal(large.epsilon[6:], small.epsilon)
    assert torch.equal(large.epsilon_0[6:], small.epsilon_0)


@pytest.mark.parametrize(("kind", "keys"), [("continuous", {}), ("discrete", {"steps": 6})])
@pytest.mark.parametrize("portion", [6, 5, 3, 1])
def test_portions_do_not_change_the_step(tiny, kind, keys, portion):
    """Gradients, terms and updated weights of one pass and of several agree to rounding, also in unequal portions."""
    objective, (x, draws) = tiny(kind, **keys), data()
    results = []
    for microbatch in (None, portion):
        state = fresh(objective)
        done = step(state.objective, state, x, draws, microbatch=microbatch, clip=1e9)
        gradients = [parameter.grad for parameter in state.objective.parameters() if parameter.requires_grad]
        results.append((gradients, [done.gradient_norm], list(state.objective.parameters())))
        torch.testing.assert_close(
            done.terms.double(), torch.stack([t.sum() for t in objective(x, draws)]).detach(), rtol=1e-5, atol=1e-5
        )
    for one, several in zip(*results, strict=True):
        for a, b in zip(one, several, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_gradient_is_that_of_the_mean_bound(tiny):
    objective, (x, draws) = tiny("continuous"), data()
    weights = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    expected = torch.autograd.grad(objective(x, draws).total.mean(), weights)
    state = fresh(objective)
    done = step(state.objective, state, x, draws, clip=1e9)
    found = [parameter.grad for parameter in state.objective.parameters() if parameter.requires_grad]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    norm = sum(float(g.square().sum()) for g in expected) ** 0.5
    assert float(done.gradient_norm) == pytest.approx(norm, rel=1e-10)


def test_workers_gradients_average_to_the_global_one(tiny):
    """What data-parallel training does with equal parts: the mean of their gradients is that of the whole batch."""
    objective, (x, draws) = tiny("discrete", steps=6), data()

    def gradient(part):
        state = fresh(objective)
        step(state.objective, state, x[part], Noise(*(d[part] for d in draws)), clip=1e9)
        return [parameter.grad for parameter in state.objective.parameters() if parameter.requires_grad]

    halves = gradient(slice(0, 6)), gradient(slice(6, 12))
    for whole, first, second in zip(gradient(slice(0, 12)), *halves, strict=True):
        torch.testing.assert_close((first + second) / 2, whole, rtol=1e-11, atol=1e-12)


def test_the_gradient_is_clipped_and_its_size_reported_unclipped(tiny):
    objective, (x, draws) = tiny("continuous"), data()
    state = fresh(objective)
    done = step(state.objective, state, x, draws, clip=0.25)
    gradients = [parameter.grad for parameter in state.objective.parameters() if parameter.requires_grad]
    assert float(done.gradient_norm) > 1
    assert sum(float(g.square().sum()) for g in gradients) ** 0.5 == pytest.approx(0.25, rel=1e-4)


def test_the_update_is_adamw_by_hand(tiny):
    """First step: w (1 - lr wd) - lr g / (|g| + eps), after clipping; and gradients do not pile up over steps."""
    objective, (x, draws) = tiny("continuous"), data()
    state = fresh(objective, lr=0.01, weight_decay=0.1)
    before = [parameter.detach().clone() for parameter in state.objective.parameters()]
    step(state.objective, state, x, draws, clip=1.0)
    for old, new in zip(before, state.objective.parameters(), strict=True):
        if new.requires_grad:
            expected = old * (1 - 0.01 * 0.1) - 0.01 * new.grad / (new.grad.abs() + 1e-8)
            torch.testing.assert_close(new.detach(), expected, rtol=1e-10, atol=1e-12)
        else:
            assert torch.equal(old, new)
    for parameter, old in zip(state.objective.parameters(), before, strict=True):
        parameter.data.copy_(old)
    gradient = [p.grad.clone() for p in state.objective.parameters() if p.requires_grad]
    step(state.objective, state, x, draws, clip=1.0)
    again = [p.grad for p in state.objective.parameters() if p.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(gradient, again, strict=True))
