"""From an experiment to its objective: the seed decides the weights, the data's shape and levels decide the rest."""

from functools import cache

import pytest
import torch

from ndm import decoders, presets
from ndm.build import build_objective, build_state
from ndm.data.manifest import Manifest
from ndm.data.prepare import prepare
from ndm.errors import UserError
from ndm.registry import kinds
from ndm.training.step import Slots, noise

SHAPE, LEVELS = (1, 8, 8), 17
LARGE = 10_000_000
"""Parameters, from which a preset's own loss takes too long for a test."""


def weights(*overrides: str) -> dict[str, torch.Tensor]:
    return build_objective(presets.load("digits-tiny", overrides), SHAPE, LEVELS).state_dict()


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_weights_are_a_function_of_the_seed_alone():
    torch.manual_seed(11)
    first = weights()
    torch.manual_seed(12)
    torch.rand(5)
    assert equal(first, weights("training.batch_size=64", "optimizer.lr=1"))
    assert not equal(first, weights("seed=1"))


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    weights()
    assert torch.equal(torch.rand(3), expected)


def smaller(name: str) -> list[str]:
    """What makes the networks of a large preset small, and leaves its data and all else."""
    if parameters(name) < LARGE:
        return []
    nets = ["network"] + ["transform.network"] * (presets.load(name).transform.kind != "identity")
    return [f"{net}.{key}" for net in nets for key in ("blocks=1", "channels=8")]


@cache
def parameters(name: str) -> int:
    """Of a preset's objective for its own data, built on a device that has no memory."""
    experiment = presets.load(name)
    with torch.device("meta"):
        objective = build_objective(experiment, experiment.data.shape, experiment.data.levels)
    assert objective.model.shape == experiment.data.shape
    return sum(parameter.numel() for parameter in objective.parameters())


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_builds_for_its_own_data(name):
    assert parameters(name) > 10_000


def test_the_largest_presets_are_as_large_as_those_of_the_papers():
    assert parameters("cifar10-vdm") == pytest.approx(31e6, rel=0.1)
    assert parameters("cifar10-ndm") == pytest.approx(2 * parameters("cifar10-vdm"), rel=0.01)


@pytest.mark.parametrize("name", presets.names())
def test_the_loss_of_every_preset_is_finite_with_fewer_blocks_and_channels_where_it_is_large(name):
    experiment = presets.load(name, smaller(name))
    objective = build_objective(experiment, experiment.data.shape, experiment.data.levels)
    raw = torch.zeros(4, *experiment.data.shape, dtype=torch.uint8 if experiment.data.levels else torch.float32)
    terms = objective(objective.model.decoder.encode(raw), noise(0, Slots(0, 4, 0, 4), objective.model.shape))
    for term in terms:
        assert term.shape == (4,)
        assert term.isfinite().all()
    assert objective.model.shape == experiment.data.shape


@pytest.mark.parametrize("kind", kinds("ndm.data.sources"))
def test_a_source_knows_the_shape_and_levels_that_its_preparation_finds(kind, source_of, tmp_path):
    source = source_of(kind)
    manifest = Manifest.read(prepare(source, tmp_path))
    assert (source.shape, source.levels) == (manifest.shape, manifest.levels)


def test_levels_decide_the_decoder():
    experiment = presets.load("digits-tiny")
    assert isinstance(build_objective(experiment, SHAPE, 17).model.decoder, decoders.Categorical)
    assert isinstance(build_objective(experiment, SHAPE, 0).model.decoder, decoders.Gaussian)


def test_networks_that_do_not_fit_the_data_are_a_sentence():
    experiment = presets.load("rings-ndm", ["network={kind: unet}", "network.fourier=[]"])
    with pytest.raises(UserError, match=r"unet takes images, not data of shape \(2,\); use kind mlp"):
        build_objective(experiment, experiment.data.shape, experiment.data.levels)


def test_the_state_starts_with_the_average_at_the_weights_and_no_moments():
    experiment = presets.load("digits-tiny", ["training.ema=0.25"])
    objective = build_objective(experiment, SHAPE, LEVELS)
    state = build_state(experiment, objective)
    tensors = state.tensors()
    assert state.position == 0
    assert state.ema.decay == 0.25
    assert equal(tensors["model"], tensors["ema"])
    assert tensors["optimizer"] == {}
    assert not any(weight.requires_grad for weight in state.ema.objective.parameters())
    with torch.no_grad():
        next(objective.parameters()).add_(1)
    assert not equal(dict(objective.state_dict()), dict(state.ema.objective.state_dict()))
