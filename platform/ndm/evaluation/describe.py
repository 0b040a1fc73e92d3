"""What `--dry-run` prints: the resolved experiment, its networks and the cost of one step."""

import yaml

from ndm.build import build_objective
from ndm.config import Experiment
from ndm.evaluation.cost import cost


def describe(experiment: Experiment) -> str:
    """The experiment as YAML, then parameter counts and counted cost."""
    data = experiment.data
    counted = cost(build_objective(experiment, data.shape, data.levels))
    resolved = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    return "\n".join(
        [
            resolved,
            f"run name                 {experiment.run_name()}",
            f"denoiser parameters      {counted.denoiser_parameters:,}",
            f"transform parameters     {counted.transform_parameters:,}",
            f"schedule parameters      {counted.schedule_parameters:,}",
            f"denoiser, one forward    {counted.forward_flops:,} FLOPs per example",
            f"training step            {counted.step_flops:,} FLOPs per example = {counted.forward_evaluations:.2f} forward "
            "evaluations of the denoiser (counted; 3.00 with a fixed forward process)",
        ]
    )
