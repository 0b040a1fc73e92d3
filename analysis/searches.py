"""Write what searches have found as a page: python analysis/searches.py SEARCH [SEARCH ...] [--root runs] [--out FILE]

One table a search, from its scores per image: every point with its bits and its paired difference to the baseline.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from analysis.output import output
from ndm.cli import guarded
from ndm.likelihood.statistics import Mean
from ndm.search import report
from ndm.search.course import Course
from ndm.search.findings import Line, findings
from ndm.search.record import find

HEAD = """# Searches

Made by `python analysis/searches.py` from the tables of finished searches. Every trial had the compute of its search's
baseline, in FLOPs. Bits per dimension are bounds on validation images, with the standard error over images; where there
are several seeds, bits are their mean and `seeds` is the standard deviation among them. Differences are paired on the
same images and noise, and their error knows nothing of another seed.
"""


def section(name: str, course: Course) -> Iterator[str]:
    """A search, in Markdown."""
    found = findings(course)
    seeds = any(line.over_seeds is not None for line in found.lines)
    yield f"## {name}\n\n{report.summary(course, found)}\n\n{report.how(course)}\n"
    yield f"| point | bits/dim |{' seeds |' if seeds else ''} less the baseline | a step's FLOPs | parameters |"
    yield f"|---|---|{'---|' if seeds else ''}---|---|---|"
    for line in found.lines:
        cells = [line.label, _mean(line.bits), *([f"{line.over_seeds:.4f}"] if seeds else []), _less(line)]
        yield f"| {' | '.join(cells)} | {line.flops_ratio:.2f} | {line.parameters:,} |"
    yield ""


def _mean(value: Mean | None) -> str:
    return f"{value.value:.4f} ± {value.error:.4f}" if value else ""


def _less(line: Line) -> str:
    over = line.over_baseline
    return f"{over.value:+.4f} ± {over.error:.4f}" if over else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("searches", nargs="+", metavar="SEARCH")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="the folder of runs, default: runs")
    parser.add_argument("--out", type=Path, help="the file to write, default: standard output")
    options = parser.parse_args()
    text = "\n".join([HEAD, *(s for name in options.searches for s in section(name, find(options.root, name)[1]))])
    output(text, options.out)


if __name__ == "__main__":
    sys.exit(guarded(main))
