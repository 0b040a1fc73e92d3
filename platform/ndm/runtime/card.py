"""What the pages of MLflow say of a run: what it is, what it reached, where to look, how to repeat it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ndm.config import Experiment
from ndm.evaluation.distances import by_drawing, spoken
from ndm.evaluation.score import PARTS
from ndm.evaluation.scores import scores
from ndm.runs import RunFolder
from ndm.tracking import tables
from ndm.tracking.runs import NOTE
from ndm.tracking.spool import Spool

COLUMNS = ("estimator", "split", "bits_per_dim", "standard_error", "low_95", "high_95", *PARTS, "nfe", "images")


def describe(folder: RunFolder, experiment: Experiment, results: Mapping[str, Any], spool: Spool) -> None:
    """Say in the run's record what the run has reached by now: its description, and tables of its numbers.

    Args:
        results: what its training ended with; nothing is said without.
    """
    if not results:
        return
    first = results["likelihood"]["scores"][0]
    wanted = {"experiment": experiment.digest(), "examples_seen": results["examples"], "ema": first.get("ema")}
    found = sorted(scores(folder.likelihood, wanted), key=lambda score: score["estimator"] != first["estimator"])
    spool.tags({NOTE: card(experiment, results, found, spool.recorded)})
    tables.record(spool, folder.path, "scores", COLUMNS, [_row(score) for score in found])
    if drawn := by_drawing(spool.recorded):
        metrics = list(dict.fromkeys(metric for values in drawn.values() for metric in values))
        columns = [name for metric in metrics for name in (metric, f"{metric}_se")]
        cells = [[drawing, *_cells(values, metrics)] for drawing, values in drawn.items()]
        tables.record(spool, folder.path, "samples", ["drawn", *columns], cells)


def _row(score: Mapping[str, Any]) -> list[tables.Cell]:
    bits = score["bits_per_dim"]
    parts = [score[part]["value"] if part in score else None for part in PARTS]
    numbers = [bits["value"], bits["error"], bits["low"], bits["high"], *parts, score.get("evaluations")]
    return [score["estimator"], score["split"], *map(_shown, numbers), score["images"]]


def _shown(number: float | None) -> float | None:
    """As many digits as a cell of MLflow's has room for."""
    return None if number is None else round(number, 6)


def _cells(values: Mapping[str, tuple[float, float]], metrics: Sequence[str]) -> Iterator[float | None]:
    for metric in metrics:
        yield from map(_shown, values.get(metric, (None, None)))


def card(
    experiment: Experiment,
    results: Mapping[str, Any],
    found: Sequence[Mapping[str, Any]],
    recorded: Mapping[str, float],
) -> str:
    """Markdown for a finished run.

    Args:
        results: what its training ended with.
        found: all scores of its weights.
        recorded: all results that it has recorded, by their metrics' names.
    """
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
            *_scores(found),
            *_samples(by_drawing(recorded)),
            "Samples over the training: **Model metrics**, `samples/ema` (move its slider). Among the artifacts are "
            "`tables/` with these numbers, `samples/` with the last samples, `likelihood/` with every image's score, "
            f"and, once `ndm report {results['run']}` was called, `report.html` with comparison and figures.",
            "",
            f"Data hash `{data['hash'][:16]}`. Repeat it with `ndm train experiment.yaml`, the artifact of this run.",
        ]
    )


def _scores(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(found) > 1:
        yield "| estimator | split | bits/dim | NFE |\n|---|---|---|---|"
        for score in found:
            bits, nfe = score["bits_per_dim"], f"{score['evaluations']:.1f}" if "evaluations" in score else ""
            value = f"{bits['value']:.4f} ± {bits['error']:.4f}"
            yield f"| `{score['estimator']}` | {score['split']} | {value} | {nfe} |"
        yield ""


def _samples(drawn: Mapping[str, Mapping[str, tuple[float, float]]]) -> Iterator[str]:
    for drawing, values in drawn.items():
        said = "; ".join(f"{spoken(metric)} {value:.4f} ± {error:.4f}" for metric, (value, error) in values.items())
        yield f"Samples `{drawing}`: {said}.\n"
