"""Write a run, or a search, as one page of HTML: numbers, comparison, figures, configuration, how to make it again.

RUN is a run's name, or the experiment that it was trained from; more runs are compared with the first. The page is in
the first one's folder, runs/RUN/report.html, with its figures as PNG and SVG, and in MLflow. Of a SEARCH the ranking is
shown here, too, now or at its end. Short keys:
  root=FOLDER            storage.root, the folder of runs
  store=PLACE            storage.store, where they may be found
"""

import re
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

from ndm.cli import job
from ndm.terminal import Terminal

COMPARISON = "comparison"
"""What the names of its tables in MLflow begin with."""


def main(options: Namespace) -> None:
    from ndm.errors import UserError
    from ndm.runtime.verbs import fetched
    from ndm.search import report
    from ndm.search.record import find, is_search

    words, terminal = [options.experiment, *options.overrides], Terminal()
    names, overrides = [word for word in words if "=" not in word], [word for word in words if "=" in word]
    root = fetched(names, overrides, terminal)
    if not any(is_search(root, name) for name in names):
        return of_runs(root, names, overrides, quick=options.quick)
    if len(names) > 1:
        raise UserError("A search is reported alone; of runs, several are compared.")
    folder, course = find(root, names[0])
    file, found = report.write(course, folder.path)
    return report.show(course, found, file, terminal)


def of_runs(root: Path, names: list[str], overrides: list[str], *, quick: bool) -> None:
    from analysis import report
    from analysis.run import Run

    from ndm import runs, tracking
    from ndm.runtime.verbs import opened
    from ndm.tracking import tables

    terminal = Terminal()
    with opened(names[0], overrides, terminal) as (workspace, spool):
        run = Run(workspace.folder, workspace.experiment)
        others = [Run(*runs.find(root, name, overrides)[:2]) for name in names[1:]]
        uri, run_id = workspace.tracking_uri(), workspace.folder.read("tracking")["run_id"]
        known = run.tags if "machine" in run.tags else tracking.tags(uri, run_id)  # where an older version put them
        written = report.write([run, *others], known, partial(drawing, terminal), quick=quick)
        spool.artifact(written.page)
        for file in written.figures:
            spool.artifact(file, report.FIGURES)
        tables.forget(run.folder.path, COMPARISON)
        for number, table in enumerate(written.comparison, 1):
            name = f"{COMPARISON}-{number}-{re.sub(r'[^a-z0-9]+', '-', table.title.lower())}"
            tables.record(spool, run.folder.path, name, table.columns, table.rows)
    for line in written.left_out:
        terminal.say(f"Left out: {line}")
    terminal.say(f"Report: {written.page}")


def drawing(terminal: Terminal, name: str, done: int, figures: int) -> None:
    terminal.progress(f"drawing figures, {done} of {figures} done: {name}", done == figures)


if __name__ == "__main__":
    sys.exit(
        job(
            main,
            __doc__,
            target="RUN",
            short={"root": "storage.root", "store": "storage.store"},
            quick="leave out the figures that take new scores or samples",
        )
    )
