"""What `--dry-run` prints: the resolved experiment, its networks and the cost of one step."""

from ndm import notation
from ndm.config import Experiment
from ndm.evaluation.cost import cost_of


def describe(experiment: Experiment) -> str:
    """The experiment as YAML that resolves to it again, with parameter counts and counted cost as comments below.

    Raises:
        UserError: the networks do not fit the data.
    """
    counted = cost_of(experiment)
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
