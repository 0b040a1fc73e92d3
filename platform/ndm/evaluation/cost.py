"""What one training step costs, counted on the real objective."""

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from ndm.build import build_objective
from ndm.config import Experiment
from ndm.objectives import Noise, Objective
from ndm.training.step import Slots, noise


class Cost(NamedTuple):
    """Counts per example; FLOPs are those of matrix products and convolutions, multiply and add counted apart.

    Counted is what torch executes, nothing of it twice. A layer of F costs 6 evaluations for its value and derivative
    with gradients, and half of that before time comes in: a step of continuous time with F as large as the denoiser
    3 + 2 * 6 + 3 = 18, the last 3 for F(x, 1). An F that falls back on torch.func.jvp (see `ndm.dual`) also multiplies
    by the weights' tangents, which are zero, 8 evaluations instead of 6.
    """

    denoiser_parameters: int
    transform_parameters: int
    schedule_parameters: int
    forward_flops: int
    """One forward evaluation of the denoising network."""
    step_flops: int
    """Forward and backward of the whole loss."""
    fixed_flops: int
    """The same step with F(x, t) = x and a fixed schedule: forward and backward of the denoiser alone."""

    @property
    def forward_evaluations(self) -> float:
        """The step in units of one forward evaluation of the denoiser."""
        return self.step_flops / self.forward_flops

    @property
    def fixed_evaluations(self) -> float:
        """The same for the fixed forward process: below 3, as nothing is differentiated by the data and the time."""
        return self.fixed_flops / self.forward_flops


def cost(objective: Objective) -> Cost:
    """Count what is executed when the loss runs once on a pair of zero images; also on the device "meta"."""
    model = objective.model
    device = next(objective.parameters()).device
    x = torch.zeros(2, *model.shape, device=device)
    drawn = Noise(*(part.to(device) for part in noise(0, Slots(0, 2, 0, 2), model.shape)))
    with FlopCounterMode(display=False) as forward:
        output = model.network(x, torch.full((2,), 0.5, device=device))
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    with FlopCounterMode(display=False) as step:
        objective(x, drawn).total.sum().backward()
    objective.zero_grad(set_to_none=True)

    def parameters(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    return Cost(
        parameters(model.network),
        parameters(model.process.transform),
        parameters(model.process.schedule),
        forward.get_total_flops() // 2,
        step.get_total_flops() // 2,
        (forward.get_total_flops() + backward.get_total_flops()) // 2,
    )


def cost_of(experiment: Experiment) -> Cost:
    """The cost of an experiment's step, before its data are there.

    Raises:
        UserError: the networks do not fit the data.
    """
    # On "meta" nothing is computed, so the largest network is counted on a laptop. Levels change no count, as a decoder
    # has no products; that of discrete levels would look at values, which are not there.
    with torch.device("meta"):
        objective = build_objective(experiment, experiment.data.shape, levels=0)
    return cost(objective)
