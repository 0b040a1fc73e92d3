"""Delete a run, or a search with all its trials, here or, with --store, in the store; asks first.

ndm rm RUN [--store] [--yes] [root=FOLDER store=PLACE]
What is in MLflow stays there.
"""

import argparse
import sys

from ndm.cli import guarded


def main() -> None:
    parser = argparse.ArgumentParser("ndm rm", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("keys", nargs="*", metavar="key=value", help="root=FOLDER, store=PLACE (NDM_STORE)")
    parser.add_argument("--store", action="store_true", help="in the store, instead of here")
    parser.add_argument("--yes", action="store_true", help="without asking")
    options = parser.parse_intermixed_args()

    from ndm.errors import UserError
    from ndm.runtime import inventory
    from ndm.runtime.shelf import asked
    from ndm.terminal import Terminal

    (root, shelf), terminal = asked(options.keys, required=options.store), Terminal()
    known = inventory.inventory(root, shelf)
    one = inventory.find(known, options.run)
    inventory.check_removable(known, one)
    whole = [*inventory.trials(known, one), one]
    goes = [found for found in whole if (found.in_store if options.store else found.here)]
    if not goes:
        raise UserError(f"{one.name} is not {'in the store' if options.store else 'here, only in the store: --store'}.")
    terminal.table([(found.name, found.line()) for found in goes])
    only = [found.name for found in goes if not (found.here and found.in_store)]
    if only:
        terminal.say(f"There is no other copy of {', '.join(only)}.")
    if not options.yes:
        if not sys.stdin.isatty():
            raise UserError("Nothing is removed without a yes: add --yes.")
        if input(f"Type {one.name} to delete it: ") != one.name:
            raise UserError("Nothing was removed.")
    for found in goes:
        if options.store:
            assert shelf is not None
            shelf.remove(found.name)
        else:
            inventory.remove(root, found.name)
    terminal.say(f"Removed: {', '.join(found.name for found in goes)}.")


if __name__ == "__main__":
    sys.exit(guarded(main))
