"""Compare runs image by image with a baseline: python analysis/paired.py BASELINE RUN [RUN ...]

Reads the per-image likelihood tables of finished runs. The difference of two runs on the same images and the same noise
has a far smaller error than either mean: the images' own spread cancels.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from ndm.cli import guarded
from ndm.errors import UserError
from ndm.evaluation.score import read, values_of
from ndm.likelihood.statistics import Mean, bits_per_dim, mean, paired
from ndm.runs import RunFolder

SAME = ("estimator", "split", "seed", "images", "data")


def table(root: Path, name: str) -> tuple[torch.Tensor, dict[str, Any]]:
    """Bits/dim of each image of a finished run, and how they were made.

    Raises:
        UserError: there is no such finished run.
    """
    results = RunFolder(root / name).read("results")
    if not results:
        raise UserError(f"{name} is not a finished run under {root.name}/; finish it with ndm train.")
    likelihood = results["likelihood"]["scores"][0]
    rows, made = read(root / name / "likelihood" / Path(likelihood["table"]).name)
    return bits_per_dim(values_of(rows, "nats"), made["dimensions"]), made


def compare(root: Path, baseline: str, runs: list[str]) -> list[tuple[str, Mean, Mean]]:
    """(run, its mean, mean of run - baseline over the images), bits/dim.

    Raises:
        UserError: the runs were not scored alike, so that a difference would mean nothing.
    """
    reference, made = table(root, baseline)
    rows = [(baseline, mean(reference), Mean(0.0, 0.0))]
    for run in runs:
        values, other = table(root, run)
        differing = [key for key in SAME if made[key] != other[key]]
        if differing:
            raise UserError(f"{run} and {baseline} differ in {', '.join(differing)}: their numbers cannot be compared.")
        rows.append((run, mean(values), paired(values, reference)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("baseline")
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="the folder of runs, default: runs")
    options = parser.parse_args()
    for run, own, difference in compare(options.root, options.baseline, options.runs):
        line = f"{run:<32} {own.value:.4f} +- {own.error:.4f} bits/dim"
        if run != options.baseline:
            line += f"   {difference.value:+.4f} +- {difference.error:.4f}"
            line += f"  ({abs(difference.value / difference.error):.1f} standard errors)" if difference.error else ""
        print(line)


if __name__ == "__main__":
    sys.exit(guarded(main))
