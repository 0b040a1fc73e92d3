"""The runs and searches of a folder, and of the store where there is one: list them, or show one.

ndm runs list [data=digits transform.kind=residual ...]
ndm runs show RUN
Filters are dotted keys of the experiment. root=FOLDER and store=PLACE say where to look.
"""

import argparse
import sys

from ndm.cli import guarded


def main() -> None:
    parser = argparse.ArgumentParser("ndm runs", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=["list", "show"])
    parser.add_argument("words", nargs="*", metavar="key=value or RUN")
    options = parser.parse_intermixed_args()

    from ndm.errors import UserError
    from ndm.runtime import inventory
    from ndm.runtime.shelf import asked
    from ndm.terminal import Terminal

    places = [word for word in options.words if word.startswith(("root=", "store=", "storage."))]
    words, terminal = [word for word in options.words if word not in places], Terminal()
    root, shelf = asked(places)
    if options.action == "list":
        found = inventory.inventory(root, shelf, words)
        return terminal.table([(one.name, one.line()) for one in found] or [("none", "yet" if not words else "fit")])
    if len(words) != 1:
        raise UserError("ndm runs show takes the name of one run.")
    known = inventory.inventory(root, shelf)
    one = inventory.find(known, words[0])
    rows = [("is", one.line()), *((key, str(value)) for key, value in one.about.get("experiment", {}).items())]
    trials = [(trial.name, trial.line()) for trial in inventory.trials(known, one)]
    return terminal.table([*rows, *trials])


if __name__ == "__main__":
    sys.exit(guarded(main))
