"""What a run reached, in words and a table: its first number with the recipe, the model, all its scores."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.run import Run, Score
from analysis.table import Table, plus_minus
from ndm.evaluation.score import PARTS


def recipe(score: Score) -> str:
    """How the number was made, in a sentence or two."""
    made, data = score.made, score.made["data"]
    kind = "a bound on the negative log-likelihood" if score.is_bound else "the likelihood of the probability-flow ODE"
    said = (
        f"{score.estimator}, {kind}: {made['images']} {made['split']} images of {data['name']} {data['version']}, each "
        f"scored once, noise of seed {made['seed']}; ± is the standard error over images."
    )
    return f"{said} It is the sum of {_sum(made)}." if score.is_bound else said


def _sum(made: Mapping[str, Any]) -> str:
    return ", ".join(f"{part} {made[part]['value']:.4f}" for part in PARTS)


def scores(run: Run) -> Table | None:
    """Every score of the newest weights, a line each; None where there is none."""
    columns = [
        "estimator",
        "split",
        "bits/dim",
        "95 %",
        *PARTS,
        "NFE",
        "tolerance",
        "solver error",
        "images",
        "s/image",
    ]
    notes = [
        "± is the standard error over images, each scored once; 95 % is the bootstrap's interval. A bound (elbo) is "
        "above the negative log-likelihood of the stochastic model; an ODE likelihood is of the deterministic model "
        "with the same weights; neither bounds the other. NFE counts evaluations of the network per latent; s/image "
        "is time of one core, or of the GPU.",
    ]
    return _table("Likelihoods", columns, [_score(score) for score in run.scores], notes)


def _score(score: Score) -> list[str]:
    made, whole = score.made, score.made["bits_per_dim"]
    return [
        score.label,
        score.split,
        plus_minus(score.mean),
        f"{whole['low']:.4f} to {whole['high']:.4f}",
        *(f"{made[part]['value']:.4f}" if part in made else "" for part in PARTS),
        f"{made['evaluations']:.1f}" if "evaluations" in made else "",
        f"{made['tolerance']:g}" if "tolerance" in made else "",
        f"{made['solver_error']:.1e}" if "solver_error" in made else "",
        f"{made['images']:,}",
        f"{made['seconds_per_image']:.3g}",
    ]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str]) -> Table | None:
    """Without the columns that have nothing in them."""
    rows = list(rows)
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    return Table(title, [columns[i] for i in kept], [[row[i] for i in kept] for row in rows], notes) if rows else None


def model(run: Run) -> str:
    """What the model is, in a sentence."""
    experiment, training = run.experiment, run.experiment.training
    time = "continuous time" if experiment.objective.kind == "continuous" else f"T = {experiment.objective.steps} steps"
    return (
        f"{experiment.transform.kind} transform, {experiment.schedule.kind} schedule, {experiment.network.kind} "
        f"denoiser, {time}, {training.examples:,} examples in batches of {training.batch_size}, seed {experiment.seed}."
    )
