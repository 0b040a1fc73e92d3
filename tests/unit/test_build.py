"""From an experiment to its objective: the seed decides the weights, the data's shape and levels decide the rest."""

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


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_builds_for_its_own_data_and_its_loss_is_finite(name):
    experiment = presets.load(name)
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
