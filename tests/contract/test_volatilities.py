"""What every volatility promises: eta > 0 and finite, shaped as the schedule, differentiable, weights kept once."""

import copy

import pytest
import safetensors.torch
import torch

from ndm.errors import UserError
from ndm.processes.ndm import NDM
from ndm.registry import kinds, variant

FAMILIES = ("ndm.volatilities",)
SHAPE = (2, 3)
T = torch.tensor([0.0, 0.1, 0.45, 0.9, 1.0], dtype=torch.float64)
TRANSFORMS = {"identity": {}, "scale": {"per": "dimension", "degree": 3}}
"""Those that every volatility takes."""


def built(config, transform="scale", schedule="linear") -> NDM:
    """A process with this volatility, in float64."""
    noise = variant("ndm.schedules", schedule).Config(gamma_min=-6.0, gamma_max=5.0).build(SHAPE)
    moved = variant("ndm.transforms", transform).Config(**TRANSFORMS[transform]).build(SHAPE)
    return NDM(noise, moved, config.build(moved, SHAPE)).double()


def eta(process, t=T):
    return process.eta(t, process.at(t, t.new_zeros(len(t), *SHAPE)))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("schedule", kinds("ndm.schedules"))
def test_positive_finite_and_as_wide_as_the_latents(config, schedule, transform, randomise):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    for scale in (0.0, 0.1, 1.0):
        found = eta(randomise(built(config, transform, schedule), scale), t)
        assert found.shape[0] == len(t)
        assert torch.broadcast_shapes(found.shape, (len(t), *SHAPE)) == (len(t), *SHAPE)
        assert found.dtype == torch.float64
        assert found.isfinite().all()
        assert (found > 0).all()


def test_single_precision_stays_single(config, randomise):
    process = randomise(built(config))
    single = copy.deepcopy(process).float()
    found = eta(single, T.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), eta(process), rtol=1e-4, atol=1e-5)


def test_what_is_learned_starts_at_the_nominal_volatility(config):
    """So a run with a learned volatility starts from the bound of a run without."""
    process = built(config)
    if config.kind != "constant":
        assert torch.equal(eta(process), torch.ones_like(eta(process)))


def test_rows_are_independent(config, randomise):
    process = randomise(built(config))
    together = eta(process)
    for i in range(len(T)):
        torch.testing.assert_close(together[i : i + 1], eta(process, T[i : i + 1]), rtol=1e-13, atol=0)


def test_gradients_reach_what_eta_is_made_of(config, randomise):
    """Its own weights, or those of the transform that it is matched to; a constant has none."""
    process = randomise(built(config), 0.3)
    weights = {name: weight for name, weight in process.named_parameters() if weight.requires_grad}
    found = eta(process)
    moving = {name for name in weights if name.startswith({"matched": "transform."}.get(config.kind, "volatility."))}
    assert bool(moving) is (config.kind != "constant") is found.requires_grad
    for name in moving:
        (gradient,) = torch.autograd.grad(found.square().sum(), weights[name], retain_graph=True)
        assert gradient.isfinite().all()
        assert (gradient != 0).all()
        direction = torch.ones_like(weights[name])
        with torch.no_grad():
            values = []
            for step in (1e-6, -2e-6, 1e-6):
                weights[name] += step * direction
                values.append(float(eta(process).square().sum()))
        assert float(gradient.sum()) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6)


def test_no_weight_is_kept_twice_and_all_come_back(config, randomise):
    process, other = randomise(built(config)), built(config)
    state = process.state_dict()
    places = [weight.data_ptr() for weight in state.values() if weight.numel()]
    assert len(set(places)) == len(places)
    assert {name.partition(".")[0] for name in state} <= {"schedule", "transform", "volatility"}
    assert len([*process.parameters()]) == len([*process.named_parameters(remove_duplicate=False)])
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)))
    assert torch.equal(eta(process), eta(other))


def test_a_copy_follows_its_own_weights(config, randomise):
    """The averaged model is a deep copy: what a volatility reads of the transform must be the copy's."""
    process = randomise(built(config), 0.3)
    before, twin = eta(process).detach().clone(), copy.deepcopy(process)
    randomise(twin, 0.5, seed=8)
    assert torch.equal(eta(process), before)
    assert torch.equal(eta(twin), before) is (config.kind == "constant")


@pytest.mark.parametrize("kind", sorted(set(kinds("ndm.transforms")) - set(TRANSFORMS)))
def test_a_volatility_is_matched_only_to_what_it_is_known_for(kind):
    family = variant("ndm.transforms", kind).Config
    tiny = variant("ndm.networks", "mlp").Config(width=8, depth=1)
    transform = family(**({"network": tiny} if "network" in family.model_fields else {})).build((1, 4, 4))
    with pytest.raises(UserError) as caught:
        variant("ndm.volatilities", "matched").Config().build(transform, (1, 4, 4))
    assert str(caught.value) == (
        "volatility.kind=matched needs transform.kind=scale or identity, for which it is known; give "
        "volatility.kind=learned"
    )
