"""Bring a run from the store: its records, and what is asked for. Repeated, the command completes what is missing.

ndm pull RUN [--what weights,samples,likelihood,all] [--to DIR] [store=s3://bucket/prefix]
"""

import argparse
import os
import sys

from ndm.cli import guarded
from ndm.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser("ndm pull", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("keys", nargs="*", metavar="key=value", help="root=FOLDER, store=PLACE (NDM_STORE)")
    parser.add_argument("--what", default="all", help="weights (newest, best), samples, likelihood; default: all")
    parser.add_argument("--to", metavar="DIR", help="the folder of runs to bring it to; by default storage.root")
    options = parser.parse_intermixed_args()

    from pathlib import Path

    from ndm.runs import RunFolder
    from ndm.runtime.shelf import PARTS, asked
    from ndm.terminal import Terminal

    (root, shelf), terminal = asked(options.keys, required=True), Terminal()
    assert shelf is not None
    root = Path(options.to).absolute() if options.to else root
    for part in (parts := options.what.split(",")):
        if part not in PARTS:
            raise UserError(f"--what {part} is not valid: it must be one or more of {', '.join(PARTS)}.")
    shelf.require(options.run)
    folder = RunFolder(root / options.run)
    with folder.lock():
        for part in parts:
            shelf.bring(folder, terminal, part)
    terminal.say(f"{folder.name} is in {os.path.relpath(root)}, verified: {options.what}.")


if __name__ == "__main__":
    sys.exit(guarded(main))
