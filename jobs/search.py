"""Search over transforms, schedules and whatever else an experiment has, at equal compute; again to resume it.

SEARCH is a file of jobs/searches or the path of one; key=value overrides its keys (trials=8, pruner.kind=none) or keys
of its experiment (training.batch_size=256). Every trial is an ordinary run, SEARCH-000 and so on.
"""

import sys
from argparse import Namespace

from ndm.cli import job


def main(options: Namespace) -> None:
    from ndm.search.config import load
    from ndm.terminal import Terminal

    asked, terminal = load(options.experiment, options.overrides), Terminal()
    if options.dry_run:
        from ndm.search.describe import describe

        return terminal.say(describe(asked))
    from ndm.search import report
    from ndm.search.driver import search

    course, page, found = search(asked, fresh=options.fresh, terminal=terminal)
    report.show(course, found, page, terminal)


if __name__ == "__main__":
    sys.exit(
        job(
            main,
            __doc__,
            target="SEARCH",
            dry_run="print what would be tried and what it costs, and exit",
            fresh="start over; an earlier search of this name and its runs are moved aside",
        )
    )
