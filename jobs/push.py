"""Copy a run to the store, with its checkpoints, for `ndm pull` elsewhere. Repeated, the command sends what is new.

ndm push RUN [store=s3://bucket/prefix] [root=FOLDER]
"""

import argparse
import sys

from ndm.cli import guarded


def main() -> None:
    parser = argparse.ArgumentParser("ndm push", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("keys", nargs="*", metavar="key=value", help="root=FOLDER, store=PLACE (NDM_STORE)")
    options = parser.parse_intermixed_args()

    from ndm.runs import RunFolder
    from ndm.runtime import inventory
    from ndm.runtime.shelf import asked
    from ndm.terminal import Terminal

    (root, shelf), terminal = asked(options.keys, required=True), Terminal()
    assert shelf is not None
    folder = RunFolder(root / inventory.find(inventory.inventory(root, None), options.run).name)
    with folder.lock():
        shelf.push_checkpoints(folder, terminal)
        shelf.publish(folder, terminal)
    terminal.say(f"{folder.name} is in {shelf.place}.")


if __name__ == "__main__":
    sys.exit(guarded(main))
