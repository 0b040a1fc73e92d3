"""Dropout by position: what a mask is made of, that it is the example's own, and where there is none."""

import pytest
import torch

from ndm import presets, registry
from ndm.build import build_objective, build_state
from ndm.errors import UserError
from ndm.likelihood.elbo import elbo
from ndm.networks._dropout import LEVELS, Dropout, keep, layers, masked, words
from ndm.training.step import Slots, noise, step

SHAPE = (1, 4, 4)
KINDS = registry.kinds("ndm.networks")
SMALL = {
    "mlp": ["network={kind: mlp, width: 16, depth: 2, dropout: 0.25}"],
    "unet": ["network={kind: unet, channels: 8, blocks: 1, dropout: 0.25}"],
    "dit": ["network={kind: dit, width: 16, depth: 2, dropout: 0.25}"],
}


def make(kind: str, randomise):
    """A float64 state of digits-tiny with a small denoiser of a kind, its weights at random."""
    experiment = presets.load("digits-tiny", [*SMALL[kind], "transform.network.width=8", "optimizer.lr=1e-30"])
    objective = build_objective(experiment, SHAPE, 17).double()
    randomise(objective)
    return build_state(experiment, objective)


def splitmix64(state: int, count: int) -> list[int]:
    """The published recurrence on Python's integers."""
    found, most = [], 2**64
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % most
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % most
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % most
        found.append(z ^ (z >> 31))
    return found


def test_the_recurrence_is_the_published_one():
    assert splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]


@pytest.mark.parametrize("size", [1, 4, 11])
def test_a_mask_is_the_16_bit_parts_of_splitmix64(size):
    starts = [0, 1234567, -1, 2**63 - 1, -(2**63)]
    found = keep(torch.tensor(starts), (size,), threshold := 20_000)
    for start, row in zip(starts, found, strict=True):
        outputs = b"".join(word.to_bytes(8, "little") for word in splitmix64(start % 2**64, 3))
        lanes = [int.from_bytes(outputs[2 * i : 2 * i + 2], "little", signed=True) for i in range(size)]
        assert row.tolist() == [lane + LEVELS // 2 >= threshold for lane in lanes]


def test_elements_are_dropped_as_often_as_asked_and_the_mean_stays():
    """10^6 draws: within 4 standard errors, in the whole, by lane, by example, and between neighbours."""
    layer, p, n = Dropout(0.1), 0.1, 10**6
    layer.words = words(torch.nn.Sequential(layer), 3, 0, 100)[:, 0]
    y = layer(torch.ones(100, n // 100, dtype=torch.float64))
    assert y.unique().tolist() == pytest.approx([0, LEVELS / (LEVELS - round(p * LEVELS))])
    spread = (p / (1 - p)) ** 0.5  # the standard deviation of an element of y
    assert float(y.mean()) == pytest.approx(1, abs=4 * spread / n**0.5)
    assert float(y.std()) == pytest.approx(spread, rel=0.01)
    for lane in range(4):
        assert float(y[:, lane::4].mean()) == pytest.approx(1, abs=4 * spread / (n / 4) ** 0.5)
    assert float((y.mean(1) - 1).abs().max()) < 5 * spread / (n / 100) ** 0.5
    centred = y - 1
    for first, second in [(y[:, :-1], y[:, 1:]), (y[:, :-4], y[:, 4:]), (y[:-1], y[1:])]:
        covariance = ((first - 1) * (second - 1)).mean()
        assert float(covariance.abs()) < 4 * float(centred.var()) / n**0.5


def test_the_words_of_parts_are_those_of_the_whole():
    network = torch.nn.Sequential(*(Dropout(0.1) for _ in range(5)), Dropout(0.0))
    whole = words(network, 1, 640, 24)
    assert whole.shape == (24, 5)
    for parts in (2, 3, 8):
        part = 24 // parts
        assert torch.equal(torch.cat([words(network, 1, 640 + i * part, part) for i in range(parts)]), whole)
    assert len({*whole.flatten().tolist(), *words(network, 2, 640, 24).flatten().tolist()}) == 240
    assert words(torch.nn.Sequential(Dropout(0.0)), 1, 0, 8) is None


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_the_same_for_any_workers_and_parts(kind, randomise):
    """The gradient of a batch, in float64, is the mean of those of its parts, which no other masks would give."""
    state = make(kind, randomise)
    x = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def gradient(world: int, portions: int, seed: int = 0) -> torch.Tensor:
        total, part = 0.0, 8 // world
        for rank in range(world):
            slots = Slots(640, 8, rank * part, part)
            draws = noise(0, slots, SHAPE)
            own = words(state.objective, seed, 640 + rank * part, part)
            mine = x[rank * part : (rank + 1) * part]
            step(state.objective, state, mine, draws, clip=1e9, microbatch=part // portions, dropout=own)
            total += torch.cat([p.grad.flatten() for p in state.objective.model.network.parameters()]) / world
        return total

    whole = gradient(1, 1)
    for world, portions in ((1, 2), (2, 1), (2, 2), (4, 1)):
        torch.testing.assert_close(gradient(world, portions), whole, rtol=1e-10, atol=1e-10)
    assert float((gradient(1, 1, seed=1) - whole).norm() / whole.norm()) > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_value_and_time_derivative_have_one_mask(kind, randomise):
    network = make(kind, randomise).objective.model.network
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor([0.1, 0.45, 0.9], dtype=torch.float64)
    with masked(network, words(network, 0, 0, 3)):
        value, derivative = torch.func.jvp(lambda time: network(x, time), (t,), (torch.ones_like(t),))
        torch.testing.assert_close(value, network(x, t), rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            expected = (network(x, t + 1e-5) - network(x, t - 1e-5)) / 2e-5
        torch.testing.assert_close(derivative.detach(), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(value, network(x, t))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_dropped_without_words_in_evaluation_and_in_the_averaged_weights(kind, randomise):
    state = make(kind, randomise)
    objective, x = state.objective, torch.zeros(4, *SHAPE, dtype=torch.float64)
    plain = [float(term.sum()) for term in elbo(objective, x, 0, seed=0, draws=2)]
    given = words(objective, 0, 0, 4)
    network, t = objective.model.network, torch.full((4,), 0.5, dtype=torch.float64)
    usual = network(x, t)
    with masked(objective, given):
        assert not torch.equal(network(x, t), usual)
        assert [float(term.sum()) for term in elbo(state.ema.objective, x, 0, seed=0, draws=2)] == plain
        objective.eval()
        assert torch.equal(network(x, t), usual)
        objective.train()
    assert torch.equal(network(x, t), usual)
    assert all(layer.words is None for layer in layers(objective))


def test_no_dropout_is_the_network_as_it_was():
    with_key = build_objective(presets.load("digits-ndm", ["network.dropout=0.25"]), (1, 8, 8), 17)
    without = build_objective(presets.load("digits-ndm"), (1, 8, 8), 17)
    assert layers(without) == []
    assert list(with_key.state_dict()) == list(without.state_dict())
    assert all(torch.equal(value, without.state_dict()[name]) for name, value in with_key.state_dict().items())


def test_a_transform_must_not_drop():
    experiment = presets.load("digits-tiny", ["transform.network.dropout=0.1"])
    with pytest.raises(UserError, match=r"transform\.network\.dropout would make the forward process random"):
        build_objective(experiment, SHAPE, 17)


def test_the_key_decides_and_the_papers_preset_has_it():
    digests = {presets.load("digits-tiny", [f"network.dropout={p}"]).digest() for p in (0.0, 0.1, 0.2)}
    assert len(digests) == 3
    assert presets.load("digits-tiny").digest() in digests
    assert presets.load("cifar10-vdm").network.dropout == presets.load("imagenet64-oord-ndm").network.dropout == 0.1
    assert presets.load("cifar10-ndm").transform.network.dropout == 0.0
