"""The state of a training: what it gives away and takes over, and what it refuses."""

import pytest
import torch

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.training.state import State, Tensors
from ndm.training.step import Slots, noise, step

SHAPE = (1, 2, 2)


def make(*overrides: str, steps: int = 0) -> State:
    tiny = ["network.width=8", "transform.network={width: 8, depth: 1}", "schedule.kind=learned", "schedule.width=4"]
    experiment = presets.load("digits-tiny", [*tiny, *overrides])
    objective = build_objective(experiment, SHAPE, 17)
    state = build_state(experiment, objective)
    for _ in range(steps):
        advance(state)
    return state


def advance(state: State) -> None:
    """One step of 8 examples."""
    raw = torch.arange(8 * 4).reshape(8, *SHAPE) % 17
    x = state.objective.model.decoder.encode(raw)
    step(state.objective, state, x, noise(0, Slots(state.position, 8, 0, 8), SHAPE), clip=1.0)
    state.position += 8
    state.ema.update(state.objective, state.position // 8)


def copied(state: State) -> Tensors:
    return {part: {name: tensor.clone() for name, tensor in named.items()} for part, named in state.tensors().items()}


def differing(first: Tensors, second: Tensors) -> set[str]:
    """Names of tensors that are not bit for bit equal, or only on one side."""
    names = {f"{part}/{name}" for tensors in (first, second) for part, named in tensors.items() for name in named}
    return {
        full
        for full in names
        for part, _, name in [full.partition("/")]
        if not (name in first[part] and name in second[part] and torch.equal(first[part][name], second[part][name]))
    }


def test_a_state_that_was_taken_over_goes_on_as_the_one_it_is_from():
    state, other = make(steps=2), make("seed=1", steps=1)
    other.load(copied(state), state.position)
    assert differing(state.tensors(), other.tensors()) == set()
    for _ in range(3):
        advance(state)
        advance(other)
    assert state.position == other.position == 40
    assert differing(state.tensors(), other.tensors()) == set()


def test_two_states_do_not_share_what_one_took_over_from_the_other():
    state, other = make(steps=1), make()
    other.load(state.tensors(), state.position)
    before = copied(other)
    advance(state)
    assert differing(before, other.tensors()) == set()
    changed = differing(before, state.tensors())
    assert {name.partition("/")[0] for name in changed} == {"model", "ema", "optimizer"}


def test_there_are_moments_for_every_parameter_that_is_trained_and_for_no_other():
    state = make(steps=1)
    trained = {name for name, weight in state.objective.named_parameters() if weight.requires_grad}
    assert {name for name, weight in state.objective.named_parameters()} - trained  # the ends of the schedule
    moments = {name.rpartition("/")[0] for name in state.tensors()["optimizer"]}
    assert moments == trained


def test_a_fresh_state_comes_back_as_one():
    state, other = make(), make("seed=1", steps=2)
    other.load(state.tensors(), 0)
    assert other.tensors()["optimizer"] == {}
    advance(state)
    advance(other)
    assert differing(state.tensors(), other.tensors()) == set()


def test_tensors_of_another_network_are_refused():
    state = make(steps=1)
    for other in (make("network.width=16"), make("transform.network.depth=2")):
        with pytest.raises(RuntimeError):
            other.load(state.tensors(), 8)


def test_moments_of_no_parameter_are_refused():
    for name, value in (("model.nothing/exp_avg", torch.zeros(3)), ("model.network.last.bias/exp_avg", torch.zeros(3))):
        state, tensors = make(), copied(make(steps=1))
        tensors["optimizer"][name] = value
        with pytest.raises(RuntimeError, match=f"{name} is of no parameter"):
            state.load(tensors, 8)
