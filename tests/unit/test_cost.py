"""The counted cost of a training step against counts by hand, and what --dry-run says of it."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import group_norm
from torch.utils.flop_counter import FlopCounterMode

from ndm import presets
from ndm.build import build_objective
from ndm.evaluation.cost import Cost, cost
from ndm.evaluation.describe import describe

SHAPE, LEVELS, PIXELS = (1, 8, 8), 17, 64
TIME_FEATURES = 64
WIDTH, DEPTH = 64, 2  # of the denoiser of digits-tiny, with one Fourier frequency
FIRST = 3 * PIXELS


def counted(*overrides: str) -> Cost:
    return cost(build_objective(presets.load("digits-tiny", overrides), SHAPE, LEVELS))


class Mlp:
    """Products of a multilayer perceptron by layer: time features, time to hidden, first, hidden, last."""

    def __init__(self, width: int, depth: int, inputs: int, outputs: int, timed: bool = True) -> None:
        self.embedding, self.times = (TIME_FEATURES * width, depth * width**2) if timed else (0, 0)
        self.first, self.hidden, self.last = inputs * width, depth * width**2, width * outputs
        biases = width * (depth + 1) + outputs + (width if timed else 0)
        self.forward = self.embedding + self.times + self.first + self.hidden + self.last
        self.parameters = self.forward + biases

    def step(self, by_input: bool) -> int:
        """Forward, and backward by the weights and by what lies between; by the data too, but never by the time."""
        return 3 * self.forward - self.embedding - (0 if by_input else self.first)

    def step_of_dual(self, by_input: bool) -> int:
        """The same for value and time derivative: the tangent passes all layers but the first, which has none."""
        return self.step(by_input) + 3 * (self.forward - self.first) - self.embedding


DENOISER = Mlp(WIDTH, DEPTH, FIRST, PIXELS)
TRANSFORM = Mlp(32, 1, PIXELS, PIXELS)


def test_parameters():
    assert counted()[:3] == (DENOISER.parameters, TRANSFORM.parameters, 0)
    assert counted("transform.kind=identity").transform_parameters == 0
    assert counted("schedule.kind=learned", "schedule.width=5").schedule_parameters == 1 + 3 * 5 + 2


def test_one_forward_of_the_denoiser():
    assert counted().forward_flops == 2 * DENOISER.forward


def test_a_fixed_process_costs_forward_and_backward_of_the_denoiser():
    fixed = counted("transform.kind=identity")
    assert fixed.step_flops == fixed.fixed_flops == 2 * DENOISER.step(by_input=False)
    assert fixed.forward_evaluations == 3 - (DENOISER.embedding + DENOISER.first) / DENOISER.forward
    assert counted("transform.kind=identity", "objective.kind=discrete").step_flops == fixed.step_flops


def test_a_learned_schedule_adds_the_gradient_by_the_latent():
    learned = counted("transform.kind=identity", "schedule.kind=learned")
    assert learned.step_flops == 2 * DENOISER.step(by_input=True)


def test_a_basis_in_time_adds_two_evaluations_and_the_prior():
    basis = Mlp(32, 1, PIXELS, 3 * PIXELS, timed=False)
    count = counted("transform.kind=time_basis", "transform.degree=3")
    # F(x, t), F(x_hat, t) and F(x, 1) of the prior, each with its time derivative at no cost.
    expected = DENOISER.step(by_input=True) + 2 * basis.step(by_input=False) + basis.step(by_input=True)
    assert count.step_flops == 2 * expected


def test_discrete_time_adds_five_evaluations_of_the_transform():
    # F(x, .) at s, t and 1, and F(x_hat, .) at s and t.
    expected = DENOISER.step(by_input=True) + 3 * TRANSFORM.step(by_input=False) + 2 * TRANSFORM.step(by_input=True)
    assert counted("objective.kind=discrete").step_flops == 2 * expected


def test_a_time_derivative_costs_what_its_tangent_costs_and_no_more():
    # No product with the tangent of a weight, which is zero, nor with that of the data.
    duals = TRANSFORM.step_of_dual(by_input=False) + TRANSFORM.step_of_dual(by_input=True)
    expected = DENOISER.step(by_input=True) + duals + TRANSFORM.step(by_input=False)
    assert counted().step_flops == 2 * expected


class Layers(nn.Module):
    """layer(sin(layer(layer(x) + t))): equal layers, of which the first has no tangent in t."""

    def __init__(self, layer: Callable[[], nn.Module], count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer() for _ in range(count))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        h = self.layers[0](x) + t.reshape(-1, *[1] * (x.ndim - 1))
        for layer in self.layers[1:]:
            h = layer(torch.sin(group_norm(h, 2) if h.ndim > 2 else h))
        return h


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize(
    ("layer", "shape", "product"),
    [(lambda: nn.Linear(6, 6), (6,), 6 * 6), (lambda: nn.Conv2d(4, 4, 3, padding=1), (4, 5, 5), 9 * 4 * 4 * 25)],
    ids=["mlp", "convolutions"],
)
def test_every_product_of_forward_mode_is_counted_once(layer, shape, product, count):
    """By hand, in products of one layer. For the value each layer has one forward, and two backward but the first,
    whose input asks for no gradient. For the tangent each layer but the first has one forward and two backward, and
    besides the two that torch spends on the zero tangent of its weights. Normalisation has no products."""
    network, x, t = Layers(layer, count), torch.randn(2, *shape), torch.tensor([0.2, 0.7])
    with FlopCounterMode(display=False) as forward:
        value, tangent = torch.func.jvp(lambda time: network(x, time), (t,), (torch.ones_like(t),))
    with FlopCounterMode(display=False) as backward:
        (value.square() + tangent.square()).sum().backward()
    moving = count - 1
    needed, zeros = (count + moving, (2 * count - 1) + 2 * moving), (moving, moving)
    one = 2 * len(x) * product
    assert forward.get_total_flops() == one * (needed[0] + zeros[0])
    assert backward.get_total_flops() == one * (needed[1] + zeros[1])


def test_counting_leaves_no_gradients_and_no_changes():
    objective = build_objective(presets.load("digits-tiny"), SHAPE, LEVELS)
    before = {name: weight.clone() for name, weight in objective.state_dict().items()}
    first = cost(objective)
    assert all(weight.grad is None for weight in objective.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in objective.state_dict().items())
    assert cost(objective) == first


@pytest.mark.parametrize("name", ["digits-tiny", "rings-ndm"])
def test_the_description_is_the_experiment_again_with_the_counts(name, tmp_path):
    experiment = presets.load(name, ["optimizer.lr=3e-05", "run.name='5'"])
    text = describe(experiment)
    (tmp_path / "again.yaml").write_text(text)
    again = presets.load(str(tmp_path / "again.yaml"))
    assert again == experiment
    assert again.digest() == experiment.digest()
    found = cost(build_objective(experiment, experiment.data.shape, experiment.data.levels))
    numbers = [float(number.replace(",", "")) for number in re.findall(r"^# \D*?  +([\d,.]+)", text, re.MULTILINE)]
    assert numbers[-7:-2] == list(found[:5])
    assert numbers[-2:] == [round(found.forward_evaluations, 3), round(found.fixed_evaluations, 3)]
    assert f"# run name                 {experiment.run_name()}" in text


@pytest.mark.parametrize("name", ["digits-ndm", "digits-vdm", "digits-diffenc", "digits-blurring", "rings-ndm"])
def test_what_is_counted_without_computing_is_what_is_computed(name):
    experiment = presets.load(name)
    found = cost(build_objective(experiment, experiment.data.shape, experiment.data.levels))
    with torch.device("meta"):
        objective = build_objective(experiment, experiment.data.shape, levels=0)
    assert cost(objective) == found
