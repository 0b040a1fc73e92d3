"""Runs with scores that are known, written by the project's own writers: nothing is trained."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from analysis.run import Run

from ndm import presets
from ndm.evaluation import score
from ndm.likelihood.estimators import SLICES
from ndm.runs import RunFolder

DIMENSIONS = 64
DIGITS = {"name": "digits", "version": "1", "hash": "d" * 64}
PRIOR, RECONSTRUCTION = 0.25, 0.5
"""Bits per dimension of each image of a bound; the rest is diffusion."""


def table(root: Path, run: str, estimator: str, bits: Sequence[float], **made: Any) -> None:
    """The per-image table of an estimator, a bound if its name says so; `made` replaces what it says of itself."""
    nats = [value * DIMENSIONS * math.log(2) for value in bits]
    prior, reconstruction = (part * DIMENSIONS * math.log(2) for part in (PRIOR, RECONSTRUCTION))
    columns: dict[str, Any] = {"id": range(len(bits)), "nats": nats}
    if estimator.startswith("elbo"):
        diffusion = [value - prior - reconstruction for value in nats]
        slices = pa.array([[value / SLICES] * SLICES for value in diffusion], pa.list_(pa.float64(), SLICES))
        columns |= {"prior": [prior] * len(bits), "reconstruction": [reconstruction] * len(bits)}
        columns |= {"diffusion": diffusion, "diffusion_by_time": slices}
    else:
        made = {"tolerance": 1e-5} | made
        columns |= {"evaluations": [80.0] * len(bits), "solver_error": [0.02 * DIMENSIONS * math.log(2)] * len(bits)}
    said = {"estimator": estimator, "split": "test", "seed": 1, "images": len(bits), "dimensions": DIMENSIONS}
    said |= {"data": DIGITS, "seconds_per_image": 0.5, "draws": 1} | made
    path = root / run / "likelihood" / f"{said['split']}-{estimator}.parquet"
    score.write(pa.table({key: pa.array(value) for key, value in columns.items()}), path, said)


def run(
    root: Path,
    name: str,
    scores: Mapping[str, Sequence[float]],
    preset: str = "digits-vdm",
    overrides: Sequence[str] = (),
    results: Mapping[str, Any] | None = None,
    **made: Any,
) -> Run:
    """A finished run of a preset, estimator -> bits per dimension of each image; `results` as of its training."""
    folder = RunFolder(root / name)
    folder.write("experiment", presets.load(preset, list(overrides)).model_dump(mode="json"))
    for estimator, bits in scores.items():
        table(root, name, estimator, bits, **made)
    training = {"examples": 1000, "examples_per_second": 20.0, "seconds": 50.0, "workers": "2", "device": "CPU"}
    written = Run(folder, folder.experiment())
    ended = [score.made for score in written.scores if score.estimator == next(iter(scores))]
    folder.write("results", {"run": name, "likelihood": {"scores": ended}} | training | dict(results or {}))
    return Run(folder, folder.experiment())
