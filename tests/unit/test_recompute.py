"""Activations computed again in the backward pass: the same loss and gradients, and less that is kept."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from ndm import presets
from ndm.build import build_objective
from ndm.networks._dropout import masked, words
from ndm.training.step import Slots, noise

SHAPE, LEVELS = (1, 8, 8), 17
UNET = "{kind: unet, channels: 8, multipliers: [1, 2], blocks: 2"
DIT = "{kind: dit, width: 16, depth: 3, heads: 2"
CASES = {
    "unet": (UNET, "transform={kind: residual, network: " + UNET + ", recompute: %s}}"),
    "dit": (DIT, "transform={kind: residual, network: " + DIT + ", recompute: %s}}"),
    "encoder": (UNET, "transform={kind: encoder, network: " + UNET + ", attention: false, recompute: %s}}"),
    "time_basis": (UNET, "transform={kind: time_basis, network: " + UNET + ", recompute: %s}}"),
    "discrete": (UNET, "transform={kind: residual, network: " + UNET + ", recompute: %s}}"),
}


def make(case: str, recompute: bool, randomise, dtype=torch.float64):
    network, transform = CASES[case]
    flag = "true" if recompute else "false"
    overrides = [
        f"network={network}, dropout: 0.25, recompute: {flag}" + "}",
        transform % flag,
        "schedule.kind=learned",
        f"objective.kind={'discrete' if case == 'discrete' else 'continuous'}",
    ]
    return randomise(build_objective(presets.load("digits-tiny", overrides), SHAPE, LEVELS).to(dtype))


def loss_and_gradients(objective, dtype=torch.float64):
    """Of six examples, with dropout in the denoiser; and the bytes that were kept for the backward pass."""
    x = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=dtype) * 2 - 1
    kept: dict[int, int] = {}
    weights = {parameter.data_ptr() for parameter in objective.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not torch._is_zerotensor(tensor):  # a tangent that is known to be zero has no memory
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with masked(objective, words(objective, 0, 64, 6)):
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            total = objective(x, noise(0, Slots(64, 6, 0, 6), SHAPE)).total
        total.sum().backward()
    return total.detach(), [p.grad for p in objective.parameters() if p.requires_grad], sum(kept.values())


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 2e-4), (torch.float64, 1e-12)])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_the_same(case, dtype, rounding, randomise):
    """With dropout, whose masks are made again with the activations. The loss to the bit; the gradients too where no
    network is walked as a dual, else up to the order in which the gradients by a skip are added."""
    usual, gradients, kept = loss_and_gradients(make(case, False, randomise, dtype), dtype)
    again, same, kept_again = loss_and_gradients(make(case, True, randomise, dtype), dtype)
    assert torch.equal(again, usual)
    for a, b in zip(same, gradients, strict=True):
        assert float(b.abs().max()) > 0
        if case in ("discrete", "time_basis"):
            assert torch.equal(a, b)
        assert float((a - b).abs().max()) <= rounding * float(b.abs().max())
    assert kept_again < 0.5 * kept


def test_evaluation_and_forward_mode_from_outside_keep_nothing_to_themselves(randomise):
    """A graph of second order, and the exact trace of the ODE, pass through it as through any network."""
    network = make("unet", True, randomise).model.network
    other = make("unet", False, randomise).model.network
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor([0.1, 0.45, 0.9], dtype=torch.float64)
    found, expected = (
        torch.func.jvp(lambda x, t, n=n: n(x, t), (x, t), (torch.ones_like(x), torch.ones_like(t)))
        for n in (network, other)
    )
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(network.dual(x, t), other.dual(x, t), strict=True):
        assert torch.equal(a, b)
    network.eval()
    for a, b in zip(network.dual(x, t), other.dual(x, t), strict=True):
        assert torch.equal(a, b)


def test_the_key_decides_nothing():
    overrides = ["network={kind: unet, channels: 8}", "transform.network={kind: unet, channels: 8}"]
    plain = presets.load("digits-tiny", overrides)
    other = presets.load("digits-tiny", [*overrides, "network.recompute=true", "transform.network.recompute=true"])
    assert other != plain
    assert other.digest() == plain.digest()
