"""What cutting trials saves and loses, and what Ray Tune costs a trial, on a search whose full grid is run once.

The same grid twice: every point to its end, and cut by `pruner.kind=asha`. The best of the second is compared with the
best of the first on the same validation images. Tune's overhead is the time in which a place for a trial is empty
between the first unit of work and the last; a unit ends with the one report it makes.

    python benchmarks/search.py
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from ndm.likelihood.statistics import mean, paired
from ndm.search.course import Course
from ndm.search.findings import findings
from ndm.search.record import find

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "search.md"
AT_A_TIME = 2


class Ran(NamedTuple):
    """A search that was run to its end."""

    course: Course
    seconds: float
    """Of the command."""
    units: int
    idle: float
    """Seconds of a place for a trial between two units, in the mean."""
    unit: float
    """Seconds of a unit, in the mean."""


def ran(search: str, name: str, root: Path, overrides: list[str]) -> Ran:
    """Run a search under its own name."""
    began = time.time()
    command = [sys.executable, str(ROOT / "jobs" / "search.py"), search, f"name={name}", f"storage.root={root}"]
    subprocess.run([*command, f"concurrency={AT_A_TIME}", *overrides], check=True)
    seconds = time.time() - began
    course = find(root, name)[1]
    made = [rung.made for trial in course.trials for rung in course.rungs(trial)]
    last = max(m["began"] + m["seconds"] for m in made)
    busy = sum(m["seconds"] for m in made)
    idle = AT_A_TIME * (last - min(m["began"] for m in made)) - busy
    return Ran(course, seconds, len(made), idle / len(made), busy / len(made))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--search", default="digits")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("overrides", nargs="*", default=[])
    options = parser.parse_intermixed_args()
    asked = ["searcher.kind=grid", *options.overrides]
    with tempfile.TemporaryDirectory() as folder:
        whole = ran(options.search, "whole", Path(folder), [*asked, "pruner.kind=none"])
        cut = ran(options.search, "cut", Path(folder), asked)
        full, found = findings(whole.course), findings(cut.course)
        best, winner = full.lines[0], found.lines[0]
        same = next(line for line in full.lines if line.label == winner.label)
        bits = {
            line.label: whole.course.table.rungs(whole.course.trials[line.place].number)[-1].bits
            for line in (best, same)
        }
        difference = paired(bits[winner.label], bits[best.label])
        error = mean(bits[best.label]).error
    share = found.spent / full.spent
    lines = [
        "# A search, whole and cut",
        "",
        f"`python benchmarks/search.py{''.join(f' {o}' for o in options.overrides)}`: "
        f"jobs/searches/{options.search}.yaml, {len(whole.course.trials)} trials with the baseline, {AT_A_TIME} at a "
        f"time; the pruner is {cut.course.plan.search.pruner.model_dump()}.",
        "",
        "| what | measured | target |",
        "|---|---|---|",
        f"| compute of the cut search over the whole one's | {share:.1%} | 40% |",
        f"| best of the whole grid | {best.label}: {best.bits.value:.4f} bits/dim | |" if best.bits else "",
        f"| best of the cut search | {winner.label} | |",
        f"| its bits in the whole grid, above the best's, bits/dim | {difference.value:+.4f} (paired error "
        f"{difference.error:.4f}) | {error:.4f}, one standard error |",
        f"| trials that ran to the end | {sum(s.status == 'finished' for s in cut.course.standings())} | |",
        f"| seconds of the command, whole and cut | {whole.seconds:.0f} and {cut.seconds:.0f} | |",
        f"| a place for a trial is empty between two units, seconds | {whole.idle:.2f} and {cut.idle:.2f} | |",
        f"| a unit takes, seconds in the mean | {whole.unit:.1f} and {cut.unit:.1f} | |",
    ]
    print("\n".join(lines))
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
