"""Write the likelihoods of all runs of a folder as a page: python analysis/results.py [--root runs] [--out FILE]

Reads the per-image tables alone. One section for each data set, by its hash: nothing is compared across data.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ndm.cli import guarded
from ndm.errors import UserError
from ndm.evaluation.score import read, summary, values_of
from ndm.likelihood.statistics import bits_per_dim, paired
from ndm.runs import RunFolder

SPLIT = "test"
HEAD = """# Results

Made by `python analysis/results.py` from the per-image tables of finished runs: `ndm train EXPERIMENT`, then
`ndm evaluate EXPERIMENT estimator=elbo,elbo_T100,...` with all the names of its rows. Bits per dimension on the {split}
split, every image once, with the standard error over images and the bootstrap's 95 % interval; `evaluations` of the
network (ODE: with its divergence) per latent and the solver's own error, against a hundredth of the tolerance;
`s/image` is CPU time of one core (on a GPU, time by the clock). Bounds (`elbo`) and ODE likelihoods are of different
models that share their weights: neither bounds the other. `gap` is the bound that the run ended with less the ODE
value, image by image. [ladder.md](ladder.md) has searches over transforms and schedules.
"""


def scored(root: Path) -> Iterator[dict[str, Any]]:
    """What each table of the split says, with the name of the experiment and the values per image."""
    for folder in sorted(root.iterdir()):
        run = RunFolder(folder)
        if not run.read("results"):
            continue
        name, first = run.experiment().name, run.read("results")["likelihood"]["scores"][0]["estimator"]
        for path in sorted(run.likelihood.glob(f"{SPLIT}-*.parquet")):
            if "-at-" in path.stem:
                continue
            table, made = read(path)
            bits = bits_per_dim(values_of(table, "nats"), made["dimensions"])
            about = {"name": name, "own": made["estimator"] == first, "bits": bits}
            yield {**made, **summary(table, made["dimensions"], made["seed"]), **about}


def page(root: Path) -> str:
    """The page, in Markdown.

    Raises:
        UserError: there is nothing to write about.
    """
    found = list(scored(root)) if root.is_dir() else []
    if not found:
        raise UserError(f"There is no scored run under {root}/; train one with ndm train digits-ndm.")
    data = {score["data"]["hash"]: score["data"] for score in found}
    sections = [HEAD.format(split=SPLIT)]
    for key, about in sorted(data.items(), key=lambda item: item[1]["name"]):
        here = [score for score in found if score["data"]["hash"] == key]
        sections.append(f"## {about['name']} {about['version']}\n\n{here[0]['images']} images, hash `{key[:16]}`.\n")
        sections.append("\n".join([*_table(here), ""]))
    return "\n".join(sections)


def _table(scores: list[dict[str, Any]]) -> Iterator[str]:
    yield "| experiment | estimator | bits/dim | 95 % | gap | evaluations | tolerance, solver error | s/image |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in sorted({score["name"] for score in scores}):
        own = sorted(
            (score for score in scores if score["name"] == name), key=lambda s: ("prior" not in s, s["estimator"])
        )
        bound = next((score for score in own if score["own"]), None)
        for score in own:
            bits = score["bits_per_dim"]
            gap, counted, solved = "", "", ""
            if "evaluations" in score:
                counted = f"{score['evaluations']:.1f}"
                solved = f"{score['tolerance']:g}, {score.get('solver_error', float('nan')):.1e}"
                if bound:
                    difference = paired(bound["bits"], score["bits"])
                    gap = f"{difference.value:+.4f} ± {difference.error:.4f}"
            value = f"{bits['value']:.4f} ± {bits['error']:.4f} | {bits['low']:.4f} to {bits['high']:.4f}"
            cells = [f"`{name}`", f"`{score['estimator']}`", value, gap, counted, solved]
            yield f"| {' | '.join(cells)} | {score['seconds_per_image']:.2g} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="the folder of runs, default: runs")
    parser.add_argument("--out", type=Path, help="the file to write, default: standard output")
    options = parser.parse_args()
    text = page(options.root)
    if options.out:
        options.out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    sys.exit(guarded(main))
