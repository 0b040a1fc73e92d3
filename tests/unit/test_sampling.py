"""Samplers as procedures: sample i by itself, evaluations counted, tolerances that mean something."""

import pytest
import torch

from ndm.decoders.categorical import Categorical
from ndm.randomness import Stream
from ndm.sampling.ancestral import Ancestral
from ndm.sampling.ode import Ode


def calls(model):
    """A list that grows by one with each evaluation of the denoising network."""
    seen = []
    model.network.register_forward_hook(lambda *_: seen.append(1))
    return seen


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_an_ancestral_sample_is_itself_in_any_batch(tiny, eta):
    model, sampler = tiny("continuous").model, Ancestral(7, eta)
    whole, _ = sampler.sample(model, 5, 6, seed=3)
    parts = [sampler.sample(model, first, count, seed=3)[0] for first, count in ((5, 1), (6, 3), (9, 2))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(sampler.sample(model, 5, 6, seed=4)[0], whole, atol=0.01)


def test_an_ode_sample_is_itself_to_the_tolerance(tiny):
    """Steps are shared by the batch, so only up to the solver's error."""
    model = tiny("continuous").model
    whole, _ = Ode(1e-6).sample(model, 0, 5, seed=3)
    alone, _ = Ode(1e-6).sample(model, 3, 1, seed=3)
    torch.testing.assert_close(alone, whole[3:4], rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_ancestral_evaluations_are_its_steps(tiny, steps):
    model = tiny("discrete", steps=3).model
    seen = calls(model)
    assert Ancestral(steps, 1.0).sample(model, 0, 2, seed=0)[1] == steps == len(seen)


def test_ode_evaluations_are_counted(tiny):
    model = tiny("continuous").model
    seen = calls(model)
    _, evaluations = Ode(1e-5).sample(model, 0, 2, seed=0)
    assert evaluations == len(seen) > 6


def test_a_finer_tolerance_costs_more_and_errs_less(tiny):
    model = tiny("continuous").model
    z_1 = Stream(1, "z").normal(0, 4, (2,), torch.float64)
    with torch.no_grad():
        reference = Ode(1e-8).run(model, z_1, 0, 0).z
        draws = [Ode(tolerance).run(model, z_1, 0, 0) for tolerance in (1e-2, 1e-4, 1e-6)]
    errors = [float((draw.z - reference).abs().max()) for draw in draws]
    costs = [draw.evaluations for draw in draws]
    assert errors == sorted(errors, reverse=True)
    assert costs == sorted(costs)
    assert errors[-1] < 2e-4 < 1e-3 < errors[0]


def test_both_samplers_meet_without_noise(tiny):
    """DDIM's steps are a first-order solution of the probability-flow ODE: the distance to it falls as 1 / T."""
    model = tiny("continuous").model
    z_1 = Stream(1, "z").normal(0, 4, (2,), torch.float64)
    with torch.no_grad():
        exact = Ode(1e-7).run(model, z_1, 0, 0).z
        errors = [(Ancestral(steps, 0.0).run(model, z_1, 0, 0).z - exact).abs().max() for steps in (50, 200)]
    assert float(errors[0] / errors[1]) == pytest.approx(4, rel=0.3)


def test_samples_come_as_stored_values(tiny):
    """In the model's precision inside, decoded outside: floats for continuous data, levels for pixels."""
    model = tiny("discrete", steps=3).model.float()
    raw, _ = Ancestral(3, 1.0).sample(model, 0, 4, seed=0)
    assert (raw.dtype, tuple(raw.shape)) == (torch.float32, (4, 2))
    model.decoder = Categorical(5)
    raw, _ = Ancestral(3, 1.0).sample(model, 0, 4, seed=0)
    assert (raw.dtype, tuple(raw.shape)) == (torch.uint8, (4, 2))
    assert int(raw.max()) < 5
