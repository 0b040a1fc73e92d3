"""Show what a search has found, now or at its end: the ranking here, and a page with figures in the search's folder.

SEARCH is the name of a search that was started. Short keys:
  root=FOLDER            storage.root, the folder of runs
  store=PLACE            storage.store, where the search may be found
"""

import sys
from argparse import Namespace

from ndm.cli import job


def main(options: Namespace) -> None:
    from ndm.runs import RunFolder
    from ndm.runtime.shelf import asked
    from ndm.search import report
    from ndm.search.record import find
    from ndm.terminal import Terminal

    (root, shelf), terminal = asked(options.overrides), Terminal()
    if shelf is not None:
        shelf.catch_up(RunFolder(root / options.experiment), terminal)
    folder, course = find(root, options.experiment)
    page, found = report.write(course, folder.path)
    report.show(course, found, page, terminal)


if __name__ == "__main__":
    sys.exit(job(main, __doc__, target="SEARCH", short={"root": "storage.root", "store": "storage.store"}))
