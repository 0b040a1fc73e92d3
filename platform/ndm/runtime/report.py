"""The short tables a verb ends with."""

from typing import Any

from ndm.config import Experiment
from ndm.evaluation.distances import rank, words
from ndm.evaluation.score import PARTS
from ndm.terminal import Terminal, duration

FLOOR = "sliced_wasserstein_floor_pixels"


def report(results: dict[str, Any], experiment: Experiment, terminal: Terminal) -> None:
    """The table at the end of `ndm train`."""
    likelihood, samples = results["likelihood"], results["samples"]
    terminal.table(
        [
            ("run", results["run"]),
            *_likelihood_rows(likelihood, detailed=False),
            ("trained on", f"{results['examples']} examples with {results['workers']} worker(s)"),
            ("time", _time(results)),
            *_sample_rows(samples),
            ("curves and samples", "on the tracking server" if experiment.tracking.uri else "make ui, or ndm ui"),
        ]
    )


def _time(results: dict[str, Any]) -> str:
    spent = f"{duration(results['seconds'])}, {results['examples_per_second']:.0f} examples/s"
    return f"{spent}, {results['goodput']:.0%} of the time that it was held" if "goodput" in results else spent


def report_likelihood(likelihood: dict[str, Any], terminal: Terminal) -> None:
    """The table at the end of `ndm evaluate`."""
    terminal.table(_likelihood_rows(likelihood, detailed=True))


def report_samples(samples: dict[str, Any], terminal: Terminal) -> None:
    """The table at the end of `ndm sample`."""
    terminal.table(_sample_rows(samples))


def _likelihood_rows(likelihood: dict[str, Any], *, detailed: bool) -> list[tuple[str, str]]:
    scores = likelihood["scores"]
    first = scores[0]
    rows = [row for score in scores for row in _score_rows(score, detailed=detailed)]
    for gap in likelihood["gaps"]:
        pair = f"{gap['bound']} less {gap['ode']}, same images"
        rows.append(("gap", f"{gap['value']:+.4f} +- {gap['error']:.4f} bits/dim ({pair})"))
    data, images = first["data"], first["images"]
    rows.append(("images scored", f"{images} of {images}, each once ({first['split']} split)"))
    rows.append(("data", f"{data['name']} {data['version']}, hash {data['hash'][:12]}"))
    return rows + [("per-image table", score["table"]) for score in scores]


def _score_rows(score: dict[str, Any], *, detailed: bool) -> list[tuple[str, str]]:
    """One estimator: its mean with what it is made of."""
    bits = score["bits_per_dim"]
    what = "bound" if "prior" in score else "ODE likelihood"
    value = f"{bits['value']:.4f} +- {bits['error']:.4f} bits/dim ({score['estimator']}, standard error over images)"
    rows = [(what, value)]
    rows += [(f"  {part}", f"{score[part]['value']:.4f}") for part in PARTS if part in score]
    if "evaluations" in score:
        error = f", solver error {score['solver_error']:.1e} bits/dim" if "solver_error" in score else ""
        rows.append(
            ("  evaluations", f"{score['evaluations']:.1f} per latent at tolerance {score['tolerance']:g}{error}")
        )
    if detailed and "by_time" in score:
        tenths = " ".join(f"{tenth['value']:.4f}" for tenth in score["by_time"])
        rows.append(("    by time", f"{tenths} (tenths of t from 0 to 1)"))
    if detailed:
        rows.append(("  interval", f"95 % from {bits['low']:.4f} to {bits['high']:.4f} (bootstrap over images)"))
        rows.append(("  seconds", f"{score['seconds_per_image']:.3g} of a core's or GPU's work per image"))
    return rows


def _sample_rows(samples: dict[str, Any]) -> list[tuple[str, str]]:
    sampler = samples["sampler"]
    drawn = f"{samples['count']} by {sampler['kind']}, {samples['evaluations']} network evaluations"
    rows = [("samples", f"{samples['picture']} ({drawn})")]
    if samples["quality"]:
        rows += _quality_rows(samples["quality"])
    return rows + [("figure", figure) for figure in samples["figures"]]


def _quality_rows(quality: dict[str, Any]) -> list[tuple[str, str]]:
    """Each distance with its standard error; that of two samples of one law stands beside the one that is biased."""
    found = dict(quality["distances"])
    floor = found.pop(FLOOR)
    rows: list[tuple[str, str]] = []
    for name, mean in sorted(found.items(), key=lambda item: rank(item[0])):
        metric, features = words(name)
        equal = f"{floor['value']:.4f} for equal laws" if name == FLOOR.replace("_floor", "") else ""
        of = "; ".join(filter(None, [features, equal]))
        rows.append((f"  {metric}", f"{mean['value']:.4f} +- {mean['error']:.4f}{f' ({of})' if of else ''}"))
    return [("compared with", f"{quality['images']} images of the {quality['split']} split"), *rows]
