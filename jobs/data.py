"""The prepared data sets of a folder: list them, show one, or verify every byte of all or some.

ndm data list
ndm data show digits-1
ndm data verify [digits-1 ...]
"""

import argparse
import sys

from ndm.cli import guarded


def main() -> None:
    parser = argparse.ArgumentParser("ndm data", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=["list", "show", "verify"])
    parser.add_argument("names", nargs="*", metavar="DATA_SET")
    parser.add_argument("--root", default="runs", help="the folder of runs (storage.root), default: runs")
    options = parser.parse_args()

    from pathlib import Path

    from ndm.data import catalogue
    from ndm.data.shards import verify
    from ndm.terminal import Terminal

    root, terminal = Path(options.root) / "data", Terminal()
    chosen = [catalogue.named(root, name) for name in options.names] or catalogue.folders(root)
    match options.action:
        case "list":
            terminal.table([(folder.name, catalogue.summary(folder)) for folder in chosen] or [("none", "yet")])
        case "show":
            for folder in chosen:
                terminal.table(catalogue.details(folder))
        case _:
            for folder in chosen:
                found = verify(folder, terminal.count(f"verifying {folder.name}, bytes"))
                terminal.say(f"{folder.name} is whole: hash {found.hash}")


if __name__ == "__main__":
    sys.exit(guarded(main))
