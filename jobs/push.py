"""Copy a run to the store, with its checkpoints, for `ndm pull` elsewhere. Repeated, the command sends what is new.

ndm push RUN [store=s3://bucket/prefix]
"""

import argparse
import sys

from ndm.cli import guarded


def main() -> None:
    parser = argparse.ArgumentParser("ndm push", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("store", nargs="?", metavar="store=PLACE", help="storage.store; by default NDM_STORE")
    parser.add_argument("--root", help="the folder of runs (storage.root)")
    options = parser.parse_intermixed_args()

    from pathlib import Path

    from ndm.runs import RunFolder
    from ndm.runtime import inventory
    from ndm.runtime.shelf import asked
    from ndm.terminal import Terminal

    (storage, shelf), terminal = asked(options.store), Terminal()
    root = Path(options.root or storage.root).absolute()
    folder = RunFolder(root / inventory.find(root, None, options.run).name)
    with folder.lock():
        shelf.push_checkpoints(folder, terminal)
        shelf.publish(folder, terminal)
    terminal.say(f"{folder.name} is in {shelf.place}.")


if __name__ == "__main__":
    sys.exit(guarded(main))
