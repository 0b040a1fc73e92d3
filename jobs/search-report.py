"""Show what a search has found, now or at its end: the ranking here, and a page with figures in the search's folder.

SEARCH is the name of a search that was started. Short key:
  root=FOLDER            storage.root, the folder of runs
"""

import sys
from argparse import Namespace

from ndm.cli import job


def main(options: Namespace) -> None:
    from pathlib import Path

    from ndm.errors import UserError
    from ndm.search import report
    from ndm.search.record import find
    from ndm.terminal import Terminal

    roots = [text.removeprefix("storage.root=") for text in options.overrides if text.startswith("storage.root=")]
    if len(roots) < len(options.overrides):
        raise UserError("ndm search-report takes no key but root=FOLDER.")
    folder, course = find(Path(roots[-1] if roots else "runs").absolute(), options.experiment)
    page, found = report.write(course, folder.path)
    report.show(course, found, page, Terminal())


if __name__ == "__main__":
    sys.exit(job(main, __doc__, target="SEARCH", short={"root": "storage.root"}))
