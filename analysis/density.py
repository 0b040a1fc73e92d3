"""Compare trained densities with the truth of 2-D mixtures: python analysis/density.py RUN [RUN ...] [--root runs]

-ln p(x) of the data's own law, averaged over the test points, is its cross-entropy with itself, known up to a standard
error. A model's ODE likelihood on the same points is above it by KL(data || model), on average, and its bound by more.
Score the runs first: ndm evaluate RUN estimator=elbo,ode
"""

import argparse
import sys
from pathlib import Path

import torch

from analysis.run import read
from ndm.cli import guarded
from ndm.data.sources import MixtureConfig
from ndm.errors import UserError
from ndm.evaluation import score
from ndm.likelihood.statistics import Mean, mean, paired

ODE = "ode_point_exact"


def compare(root: Path, name: str) -> tuple[Mean, dict[str, Mean]]:
    """(the true cross-entropy, excess of each estimator of a run over it on the same points), nats per point.

    Raises:
        UserError: the run is not one on a mixture, or was not scored by the ODE and a bound.
    """
    run = read(root, name)
    data = run.experiment.data
    if not isinstance(data, MixtureConfig):
        raise UserError(
            f"{run.name} is on {data.kind}, whose density is not known; name runs on data.kind=rings or pairs."
        )
    tables = {path.stem.removeprefix("test-"): path for path in run.folder.likelihood.glob("test-*.parquet")}
    if ODE not in tables or not any(found.startswith("elbo") for found in tables):
        raise UserError(f"{run.name} is not scored by both estimators; run: ndm evaluate {run.name} estimator=elbo,ode")
    truth = torch.from_numpy(-data.law.log_density(run.rows("test", 0, run.manifest.rows("test")).numpy()))
    nats = {key: score.values_of(score.read(path)[0], "nats") for key, path in sorted(tables.items())}
    return mean(truth), {key: paired(values, truth) for key, values in nats.items()}


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
