"""Compare trained densities with the truth of 2-D mixtures: python analysis/density.py RUN [RUN ...] [--root runs]

-ln p(x) of the data's own law, averaged over the test points, is its cross-entropy with itself, known up to a standard
error. A model's ODE likelihood on the same points is above it by KL(data || model), on average, and its bound by more.
Score the runs first: ndm evaluate RUN estimator=elbo,ode
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from ndm.cli import guarded
from ndm.data.available import where
from ndm.data.manifest import Manifest
from ndm.data.shards import read_rows
from ndm.data.sources import MixtureConfig
from ndm.errors import UserError
from ndm.evaluation.score import read, values_of
from ndm.likelihood.statistics import Mean, mean, paired
from ndm.runs import RunFolder

ODE = "ode_point_exact"


def compare(root: Path, name: str) -> tuple[Mean, dict[str, Mean]]:
    """(the true cross-entropy, excess of each estimator of a run over it on the same points), nats per point.

    Raises:
        UserError: the run is not one on a mixture, or was not scored by the ODE and a bound.
    """
    run = RunFolder(root / name)
    experiment = run.experiment() if run.exists else None
    if experiment is None or not isinstance(experiment.data, MixtureConfig):
        raise UserError(f"{name} is no run under {root.name}/ on data.kind=rings or pairs, whose densities are known.")
    tables = {path.stem.removeprefix("test-"): path for path in run.likelihood.glob("test-*.parquet")}
    if ODE not in tables or not any(found.startswith("elbo") for found in tables):
        raise UserError(f"{name} is not scored by both estimators; run: ndm evaluate {name} estimator=elbo,ode")
    folder = where(experiment.data, experiment.storage.data_sets, root.absolute(), experiment.storage.cache_bytes)
    manifest = Manifest.read(folder)
    raw = read_rows(folder, manifest, "test", 0, manifest.rows("test")).raw
    truth = torch.from_numpy(-experiment.data.law.log_density(np.asarray(raw)))
    return mean(truth), {key: paired(values_of(read(path)[0], "nats"), truth) for key, path in sorted(tables.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="the folder of runs, default: runs")
    options = parser.parse_args()
    for name in options.runs:
        truth, excess = compare(options.root, name)
        print(f"{name}: true cross-entropy {truth.value:.4f} +- {truth.error:.4f} nats")
        for estimator, over in excess.items():
            share = f"{over.value / truth.error:+.2f} standard errors of it"
            print(f"  {estimator:<18} {over.value:+.4f} +- {over.error:.4f} nats above ({share})")


if __name__ == "__main__":
    sys.exit(guarded(main))
