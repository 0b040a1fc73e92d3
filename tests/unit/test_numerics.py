"""Narrower products, their layout and the fused update: where they act, where they do not, and how near they stay."""

import copy

import pytest
import safetensors.torch
import torch

from ndm import dual, presets
from ndm.build import build_objective, build_state
from ndm.errors import UserError
from ndm.networks import Network
from ndm.training.numerics import NumericsConfig, exact, prepare, set_process
from ndm.training.step import Slots, noise, step

SHAPE, LEVELS, BATCH = (1, 8, 8), 17, 32
SIZES = {"mlp": "width=32", "unet": "channels=8", "dit": "width=16"}


def load(kind, *overrides):
    """The demo's experiment with small networks of that kind."""
    size = SIZES[kind]
    keys = [f"network.kind={kind}", f"network.{size}", f"transform.network.kind={kind}", f"transform.network.{size}"]
    return presets.load("digits-ndm", [*keys, *overrides])


def data():
    generator = torch.Generator().manual_seed(1)
    x = (2 * torch.randint(LEVELS, (BATCH, *SHAPE), generator=generator) + 1) / LEVELS - 1
    return x, noise(0, Slots(0, BATCH, 0, BATCH), SHAPE)


def gradients(objective, x, draws):
    """The terms, and the gradient of their mean by every weight, as one vector."""
    objective.zero_grad()
    terms = objective(x, draws)
    terms.total.mean().backward()
    return terms, torch.cat([p.grad.flatten() for p in objective.parameters() if p.grad is not None])


def apart(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("kind", SIZES)
def test_bf16_stays_near_fp32(kind, randomise):
    """The bound of a batch to 0.2%, the gradient to 10%: bf16 has 8 bits, and rounding errors are independent."""
    objective, (x, draws) = randomise(build_objective(load(kind), SHAPE, LEVELS), 0.05), data()
    exact, expected = gradients(objective, x, draws)
    prepare(objective, NumericsConfig(precision="bf16"))
    terms, found = gradients(objective, x, draws)
    assert float((terms.total.mean() / exact.total.mean() - 1).abs()) < 2e-3
    assert 1e-5 < apart(terms.diffusion, exact.diffusion) < 0.05
    assert 1e-4 < apart(found, expected) < 0.1
    assert torch.equal(terms.reconstruction, exact.reconstruction)


@pytest.mark.parametrize("kind", SIZES)
def test_all_but_products_stays_in_fp32(kind, randomise):
    """Terms, schedule, weights, gradients, moments and the average; networks give what they are given."""
    experiment = load(kind, "training.precision=bf16", "schedule.kind=learned")
    state = build_state(experiment, randomise(build_objective(experiment, SHAPE, LEVELS), 0.05))
    x, draws = data()
    terms = state.objective(x, draws)
    assert {term.dtype for term in terms} == {torch.float32}
    assert {value.dtype for value in state.objective.model.process.schedule(draws.u.float())} == {torch.float32}
    t = draws.u.float()
    network = state.objective.model.process.transform.network
    assert network(x, t).dtype == torch.float32
    assert [a.dtype for a in dual.stacked(network, (x, t), (None, torch.ones_like(t)))] == [torch.float32] * 2
    step(state.objective, state, x, draws, clip=1.0)
    named = {f"{part}/{name}": a for part, tensors in state.tensors().items() for name, a in tensors.items()}
    assert {a.dtype for a in named.values()} == {torch.float32}
    assert {p.grad.dtype for p in state.objective.parameters() if p.grad is not None} == {torch.float32}


def test_the_average_is_scored_and_sampled_in_fp32(randomise):
    """Same weights, and only the objective that is trained rounds."""
    experiment, (x, draws) = load("unet", "training.precision=bf16"), data()
    plain = randomise(build_objective(experiment, SHAPE, LEVELS), 0.05)
    state = build_state(experiment, copy.deepcopy(plain))
    with torch.no_grad():
        expected, average, trained = (o(x, draws).total for o in (plain, state.ema.objective, state.objective))
    assert torch.equal(average, expected)
    assert not torch.equal(trained, expected)


def test_a_short_training_in_bf16_goes_down(randomise):
    experiment = load("mlp", "training.precision=bf16", "optimizer.lr=3e-3")
    state, (x, draws) = build_state(experiment, build_objective(experiment, SHAPE, LEVELS)), data()
    losses = []
    for _ in range(30):
        losses.append(float(step(state.objective, state, x, draws, clip=1.0).terms.sum()))
    assert losses[-1] < 0.8 * losses[0]


class Erf(Network):
    """A network with an operation that has no rule in `ndm.dual`."""

    def forward(self, x, t):
        return torch.erf(x * t[:, None])


def test_bf16_is_refused_where_only_forward_mode_would_do():
    network, x, t = Erf(), torch.randn(3, 2), torch.rand(3)
    dual.jvp(network, (x, t), (None, torch.ones_like(t)))
    network.products = torch.bfloat16
    assert network(x, t).dtype == torch.float32
    with pytest.raises(UserError, match=r"training.precision=bf16 cannot differentiate Erf .* training.precision=fp32"):
        dual.jvp(network, (x, t), (None, torch.ones_like(t)))


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_difference_of_near_times_is_not_left_to_few_digits(precision):
    """In bf16 the gradient of the discrete bound by a U-Net in F was as far from the right one as zero is."""
    overrides = ["objective.kind=discrete", f"training.precision={precision}"]
    with pytest.raises(UserError, match=f"training.precision={precision} needs objective.kind=continuous"):
        presets.load("digits-ndm", overrides)
    presets.load("digits-ndm", [*overrides, "transform.kind=identity"])


def test_tf32_is_off_unless_asked_for():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for precision in ("tf32", "fp32", "bf16"):
            set_process(precision)
            found = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            assert found == (precision == "tf32",) * 2
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_what_is_scored_in_somebody_elses_process_is_without_tf32_and_leaves_it_as_it_was():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        set_process("tf32")
        with exact():
            assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (True, True)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("keys", [["training.channels_last=true"], ["optimizer.fused=true"]])
def test_layout_and_fused_update_change_rounding_alone(keys, randomise):
    """Three steps in float64, with a checkpoint after the second that another state goes on from."""
    states = []
    x, draws = (data()[0].double(), type(data()[1])(*(d.double() for d in data()[1])))
    for overrides in ([], keys):
        experiment = load("unet", *overrides)
        state = build_state(experiment, randomise(build_objective(experiment, SHAPE, LEVELS).double(), 0.05))
        for _ in range(2):
            step(state.objective, state, x, draws, clip=1.0)
        saved = {
            part: safetensors.torch.load(safetensors.torch.save({n: a.detach().contiguous() for n, a in named.items()}))
            for part, named in state.tensors().items()
        }
        again = build_state(experiment, build_objective(experiment, SHAPE, LEVELS).double())
        again.load(saved, 2 * BATCH)
        for one in (state, again):
            step(one.objective, one, x, draws, clip=1.0)
        for a, b in zip(state.objective.parameters(), again.objective.parameters(), strict=True):
            assert torch.equal(a, b)
        states.append(again)
    plain, other = states
    moved = [a.stride() != b.stride() for a, b in zip(*(s.objective.parameters() for s in states), strict=True)]
    assert any(moved) == ("training.channels_last=true" in keys)
    for a, b in zip(plain.objective.parameters(), other.objective.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
