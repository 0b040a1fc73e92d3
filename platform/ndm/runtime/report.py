"""The short tables a verb ends with."""

from typing import Any

from ndm.config import Experiment
from ndm.terminal import Terminal, duration


def report(results: dict[str, Any], experiment: Experiment, terminal: Terminal) -> None:
    """The table at the end of `ndm train`."""
    likelihood, samples = results["likelihood"], results["samples"]
    terminal.table(
        [
            ("run", results["run"]),
            *_likelihood_rows(likelihood),
            ("trained on", f"{results['examples']} examples with {results['workers']} worker(s)"),
            ("time", f"{duration(results['seconds'])}, {results['examples_per_second']:.0f} examples/s"),
            *_sample_rows(samples),
            ("curves and samples", "on the tracking server" if experiment.tracking.uri else "make ui, or ndm ui"),
        ]
    )


def report_likelihood(likelihood: dict[str, Any], terminal: Terminal) -> None:
    """The table at the end of `ndm evaluate`."""
    terminal.table(_likelihood_rows(likelihood))


def report_samples(samples: dict[str, Any], terminal: Terminal) -> None:
    """The table at the end of `ndm sample`."""
    terminal.table(_sample_rows(samples))


def _likelihood_rows(likelihood: dict[str, Any]) -> list[tuple[str, str]]:
    data = likelihood["data"]
    bound = likelihood["bits_per_dim"]
    return [
        (
            "bound",
            f"{bound['value']:.4f} +- {bound['error']:.4f} bits/dim "
            f"({likelihood['estimator']}, standard error over images)",
        ),
        *((f"  {part}", f"{likelihood[part]['value']:.4f}") for part in ("prior", "reconstruction", "diffusion")),
        ("images scored", f"{likelihood['images']} of {likelihood['images']}, each once ({likelihood['split']} split)"),
        ("data", f"{data['name']} {data['version']}, hash {data['hash'][:12]}"),
        ("per-image table", likelihood["table"]),
    ]


def _sample_rows(samples: dict[str, Any]) -> list[tuple[str, str]]:
    sampler = samples["sampler"]
    rows = [("samples", f"{samples['picture']} ({sampler['kind']}, {samples['evaluations']} network evaluations)")]
    return rows + [("figure", figure) for figure in samples["figures"]]
