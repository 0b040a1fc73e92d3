"""What `--dry-run` prints: the resolved experiment, its networks and the cost of one step."""

import torch

from ndm import notation
from ndm.build import build_objective
from ndm.config import Experiment
from ndm.evaluation.cost import cost


def describe(experiment: Experiment) -> str:
    """The experiment as YAML that resolves to it again, with parameter counts and counted cost as comments below.

    Raises:
        UserError: the networks do not fit the data.
    """
    # On "meta" nothing is computed, so the largest network is counted on a laptop. Levels change no count, as a decoder
    # has no products; that of discrete levels would look at values, which are not there.
    with torch.device("meta"):
        objective = build_objective(experiment, experiment.data.shape, levels=0)
    counted = cost(objective)
    about = [
        f"run name                 {experiment.run_name()}",
        f"denoiser parameters      {counted.denoiser_parameters:,}",
        f"transform parameters     {counted.transform_parameters:,}",
        f"schedule parameters      {counted.schedule_parameters:,}",
        f"denoiser, one forward    {counted.forward_flops:,} FLOPs per example",
        f"training step            {counted.step_flops:,} FLOPs per example (counted)",
        f"  in denoiser forwards   {counted.forward_evaluations:.3f}",
        f"  with F(x, t) = x       {counted.fixed_evaluations:.3f} (and a fixed schedule)",
    ]
    resolved = notation.write(experiment.model_dump(mode="json"))
    return "\n".join([resolved, *(f"# {line}" for line in about)])
