"""What every sampler promises: sample i by itself, evaluations counted, finite values, stored values out."""

import pytest
import torch
from pages import Page
from pydantic import TypeAdapter, ValidationError

from ndm import sampling
from ndm.decoders import for_levels
from ndm.model import Model
from ndm.processes.ndm import NDM
from ndm.registry import kinds, variant
from ndm.sampling._grid import GridConfig, gamma_at, grid_times
from ndm.sampling._optimise import RULES
from ndm.volatilities.constant import Constant

FAMILIES = ("ndm.sampling",)
SHAPE = (1, 4, 4)
STEPS = 5
LEVELS = 7
TINY = variant("ndm.networks", "mlp").Config(width=8, depth=1)


@pytest.fixture
def make(randomise):
    """A tiny model with every weight moved off its start."""

    def build(transform: str = "residual", schedule: str = "cosine", levels: int = 0, dtype=torch.float64) -> Model:
        config = variant("ndm.transforms", transform).Config
        transforms = config(network=TINY) if "network" in config.model_fields else config()
        noise = variant("ndm.schedules", schedule).Config(gamma_min=-6.0, gamma_max=4.0).build(SHAPE)
        process = NDM(noise, transforms.build(SHAPE), Constant(1.0))
        head = variant("ndm.heads", "v").Config().build()
        return randomise(Model(process, TINY.build(SHAPE), head, for_levels(levels), SHAPE)).to(dtype)

    return build


def test_json_round_trip_through_the_family(config):
    assert TypeAdapter(sampling.AnyConfig).validate_json(config.model_dump_json()) == config


def test_a_sample_is_itself_in_any_batch(config, make):
    """Exactly, where the steps are given; to the tolerance, where a solver chooses steps for the batch."""
    fixed = isinstance(config, GridConfig)
    model, sampler = make(), (config if fixed else config.model_copy(update={"tolerance": 1e-7})).build(STEPS)
    whole, _ = sampler.sample(model, 5, 6, seed=3)
    parts = torch.cat([sampler.sample(model, first, count, seed=3)[0] for first, count in ((5, 1), (6, 3), (9, 2))])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12 if fixed else 1e-4)
    assert (whole[0] - whole[1]).abs().max() > 0.01


def test_the_seed_decides(config, make):
    model, sampler = make(), config.build(STEPS)
    first, again, other = (sampler.sample(model, 0, 3, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.01


def test_evaluations_are_the_calls_of_the_network(config, make):
    model, calls = make(), []
    model.network.register_forward_hook(lambda *_: calls.append(1))
    _, evaluations = config.build(STEPS).sample(model, 0, 2, seed=0)
    assert evaluations == len(calls) > 0


@pytest.mark.parametrize("transform", kinds("ndm.transforms"))
@pytest.mark.parametrize("kind", kinds("ndm.sampling"))
def test_stored_values_with_every_transform(kind, transform, make):
    model = make(transform, levels=LEVELS, dtype=torch.float32)
    sampler = variant("ndm.sampling", kind).Config().build(STEPS)
    raw, _ = sampler.sample(model, 0, 3, seed=0)
    assert (raw.dtype, tuple(raw.shape)) == (torch.uint8, (3, *SHAPE))
    assert int(raw.max()) < LEVELS
    model.decoder = for_levels(0)
    raw, _ = sampler.sample(model, 0, 3, seed=0)
    assert (raw.dtype, tuple(raw.shape)) == (torch.float32, (3, *SHAPE))
    assert raw.isfinite().all()


@pytest.mark.parametrize("schedule", kinds("ndm.schedules"))
@pytest.mark.parametrize("kind", kinds("ndm.sampling"))
def test_finite_with_every_schedule(kind, schedule, make):
    raw, _ = variant("ndm.sampling", kind).Config().build(STEPS).sample(make(schedule=schedule), 0, 2, seed=0)
    assert raw.isfinite().all()


@pytest.mark.parametrize("schedule", kinds("ndm.schedules"))
def test_grids_follow_the_schedule(schedule, make):
    """uniform: equal steps of t. log_snr: of gamma. edm: of (sigma / alpha)^(1/7) = e^(gamma / 14)."""
    model, cpu = make(schedule=schedule), torch.device("cpu")
    seen = {
        "uniform": lambda t: t,
        "log_snr": lambda t: gamma_at(model, t),
        "edm": lambda t: (gamma_at(model, t) / 14).exp(),
    }
    with torch.no_grad():
        for rule, value in seen.items():
            times = torch.tensor(grid_times(model, 9, rule, cpu), dtype=torch.float64)
            assert (times[0], times[-1], len(times)) == (1, 0, 10)
            assert (times.diff() < 0).all()
            steps = value(times).diff()
            torch.testing.assert_close(steps, steps.mean().expand(9), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(set(kinds("ndm.sampling")) - {"ode"}))
def test_times_take_the_place_of_a_rule(kind, make):
    config = variant("ndm.sampling", kind).Config()
    listed = config.model_copy(update={"times": tuple(1 - i / 8 for i in range(9))})
    rule = config.model_copy(update={"times": None, "grid": "uniform", "steps": 8})
    model = make()
    a, b = (chosen.build(3).sample(model, 0, 2, seed=0) for chosen in (listed, rule))
    assert torch.equal(a[0], b[0])
    assert a[1] == b[1]


@pytest.mark.parametrize("times", [(0.0, 1.0), (1.0, 0.5), (0.9, 0.0), (1.0, 0.4, 0.4, 0.0), (1.0,)])
def test_times_that_are_no_grid_are_refused(times):
    with pytest.raises(ValidationError, match="times"):
        variant("ndm.sampling", "euler").Config(times=times)


def test_steps_that_contradict_the_times_are_refused():
    with pytest.raises(ValidationError, match="set steps to null"):
        variant("ndm.sampling", "euler").Config(steps=3, times=(1.0, 0.5, 0.0))


@torch.no_grad()
def test_the_page_on_samplers_finds_times_for_a_model(make):
    """The code of docs/samplers.md, word for word but for the numbers of latents and steps."""
    page = Page("docs/samplers.md")
    (code,) = page.python
    found = {"model": make(dtype=torch.float32)}
    exec(code.replace("128", "4").replace("steps=10", "steps=2"), found)
    (first, _, last), sampler = found["times"], found["sampler"].build(None)
    assert (first, last, sampler.steps) == (1, 0, 2)
    errors = [
        (chosen.run(found["model"], found["z"], 0, 0).z - found["target"]).square().mean()
        for chosen in (
            sampler,
            *(variant("ndm.sampling", "exponential").Config(steps=2, grid=g).build(None) for g in RULES),
        )
    ]
    assert float(errors[0]) <= float(min(errors[1:])) * 1.001
