"""Write the results of finished runs as a page: python analysis/results.py [--root runs ...] [--out FILE]

One section for each data set, by its hash: nothing is compared across data. Where a run lies in several of the folders
of runs, that of the first counts.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis import bits
from analysis.costs import costs
from analysis.groups import Group, Split, groups
from analysis.output import output
from analysis.quality import quality
from analysis.reading import reading
from analysis.run import Run, select
from analysis.table import Table, plus_minus
from ndm.cli import guarded
from ndm.errors import UserError
from ndm.evaluation import again
from ndm.runs import searches
from ndm.search import report
from ndm.search.findings import findings
from ndm.search.record import find

BASELINE = "-vdm"
"""Ending of the presets with the identity transform, which the others of their data are compared with."""
SPLIT = "test"
HEAD = """# Results

Made by `python analysis/results.py` from the records of finished runs; nothing in it is written by hand. Bits per
dimension are of the test split, every image once. What is read from the numbers is what Student's paired t test over
the images says at 5 %, corrected for the number of runs by Holm's method; bounds (`elbo`) and ODE likelihoods are of
different models that share their weights, and neither bounds the other. [likelihood.md](likelihood.md) says what the
estimators are, [ladder.md](ladder.md) has searches over transforms and schedules.
"""


def page(roots: Sequence[Path]) -> str:
    """The page, in Markdown.

    Raises:
        UserError: there is nothing to write about, or a record is damaged.
    """
    runs: dict[str, Run] = {}
    for root in roots:
        if not root.is_dir():
            raise UserError(f"There is no scored run under {root}/, which is no folder; give another as --root.")
        runs = {run.name: run for run in select(root, []) if run.results} | runs
    found = sorted(groups(runs.values()), key=lambda group: (group.data.name, group.data.version))
    if not found:
        there = " or ".join(f"{root}/" for root in roots)
        raise UserError(f"There is no scored run under {there}; train one with ndm train digits-ndm.")
    return "\n".join([HEAD, *(part for group in found for part in _section(group)), *_searches(roots)])


def _section(group: Group) -> Iterator[str]:
    yield f"## {group.data}\n\nHash `{group.data.hash[:16]}`.\n"
    baseline = next((run for run in group.runs if run.experiment.name.endswith(BASELINE)), None)
    for split in Group(group.data, group.runs, baseline or group.baseline).splits:
        if split.name != SPLIT:
            continue
        if baseline and len(split.ranked) > 1:
            yield "\n".join(["### Reading", "", *(f"- {sentence}" for sentence in reading(split)), ""])
        yield likelihoods(split).markdown(3)
        if baseline and len(split.ranked) > 1:
            yield bits.differences(split).markdown(3)
        yield bits.parts(split).markdown(3)
    yield from (table.markdown(3) for table in (quality(group.runs), costs(group.runs)) if table.rows)
    yield "\n".join(["### Recipes", "", *(_recipe(run) for run in group.runs), ""])


def likelihoods(split: Split) -> Table:
    """A row per run and estimator, with the interval and, of an ODE, what it took and how far it is from the bound."""
    rows: list[list[str]] = []
    for run in split.ranked:
        of_run = split.scores[run.name]
        for score in of_run.values():
            made, own = score.made, score.made["bits_per_dim"]
            above = counted = solved = ""
            if not score.is_bound:
                counted = f"{made['evaluations']:.1f}"
                solved = f"{made['tolerance']:g}, {made.get('solver_error', float('nan')):.1e}"
                if found := bits.gap(of_run, score):
                    _, over = found
                    above = f"{plus_minus(over.mean, signed=True)}, {bits.between(over.interval)}"
            interval = f"{own['low']:.4f} to {own['high']:.4f}"
            told = [run.name, score.label, plus_minus(score.mean), interval, above, counted, solved]
            rows.append([*told, f"{made['seconds_per_image']:.2g}"])
    images = sorted({score.made["images"] for of_run in split.scores.values() for score in of_run.values()})
    notes = [
        f"± is the standard error over the {' or '.join(map(str, images))} images of the split, beside the bootstrap's "
        "95 % interval. The gap is the bound that the run ended with less the ODE value, image by image, with "
        "Student's interval. NFE are evaluations of the network for a latent, with its divergence; the solver's own "
        "error is against a hundredth of the tolerance, and s/image is CPU time of one core (on a GPU, time by the "
        "clock)."
    ]
    columns = ["run", "estimator", "bits/dim", "95 %", "gap", "NFE", "tolerance, solver error", "s/image"]
    return Table("Likelihoods", columns, rows, notes, keys=2)


def _recipe(run: Run) -> str:
    scored = [score.made for score in run.scores if score.split == SPLIT]
    train = again.training(run.experiment, run.name)
    commands = [train, *again.scoring(run.name, run.experiment, scored)]
    return f"- {run.name}: {', then '.join(f'`{command}`' for command in commands)}"


def _searches(roots: Sequence[Path]) -> Iterator[str]:
    """What the searches of the folders found, a sentence or two each."""
    said = list[str]()
    for root in roots:
        for folder in searches(root):
            _, course = find(root, folder.name)
            said.append(f"- `{folder.name}`: {report.summary(course, findings(course))}")
    if said:
        yield "\n".join(["## Searches", "", "[ladder.md](ladder.md) has them point by point.", "", *said, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    root_help = "a folder of runs, default: runs; may be given several times"
    parser.add_argument("--root", type=Path, action="append", metavar="FOLDER", help=root_help)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the file to write, default: standard output")
    options = parser.parse_args()
    output(page(options.root or [Path("runs")]), options.out)


if __name__ == "__main__":
    sys.exit(guarded(main))
