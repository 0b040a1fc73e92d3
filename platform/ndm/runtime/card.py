"""The description of a run in the MLflow UI: what it is, what it reached, how to repeat it."""

from typing import Any

from ndm.config import Experiment
from ndm.evaluation.score import PARTS

NOTE = "mlflow.note.content"
"""The tag that MLflow shows as a run's description, in Markdown."""


def card(experiment: Experiment, results: dict[str, Any]) -> str:
    """Markdown for a finished run."""
    likelihood = results["likelihood"]["scores"][0]
    data, bound = likelihood["data"], likelihood["bits_per_dim"]
    time = "continuous time" if experiment.objective.kind == "continuous" else f"T = {experiment.objective.steps} steps"
    parts = ", ".join(f"{part} {likelihood[part]['value']:.4f}" for part in PARTS if part in likelihood)
    parts = f": {parts}" if parts else ""
    return "\n".join(
        [
            f"**{bound['value']:.4f} ± {bound['error']:.4f} bits/dim** on {likelihood['images']} {likelihood['split']} "
            f"images of {data['name']} {data['version']}, each scored once ({likelihood['estimator']}; standard error "
            f"over images){parts}.",
            "",
            f"`{experiment.transform.kind}` transform, `{experiment.schedule.kind}` schedule, "
            f"`{experiment.network.kind}` denoiser, {time}, {experiment.training.examples:,} "
            f"examples, seed {experiment.seed}.",
            "",
            f"Data hash `{data['hash'][:16]}`. Repeat it with `ndm train experiment.yaml`, the artifact of this run.",
        ]
    )
