"""The prepared data sets of a folder or a store: list them, show one, or verify every byte of all or some.

ndm data list
ndm data show digits-1
ndm data verify [digits-1 ...]
ndm data list storage.data=s3://my-bucket/data-sets
ndm data verify s3://my-bucket/data-sets [digits-1 ...]
"""

import argparse
import sys

from ndm import environment
from ndm.cli import guarded
from ndm.errors import UserError

KEY = "storage.data="


def main() -> None:
    parser = argparse.ArgumentParser("ndm data", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=["list", "show", "verify"])
    where = f"their names; with {KEY}PLACE, or the place alone, those of another folder or store"
    parser.add_argument("names", nargs="*", metavar="DATA_SET", help=where)
    parser.add_argument("--root", default=environment.root(), help="the folder of runs (storage.root)")
    options = parser.parse_intermixed_args()

    from ndm.data import catalogue, places
    from ndm.data.shards import verify
    from ndm.mistakes import shown
    from ndm.terminal import Terminal

    given = [text for text in options.names if text.startswith(KEY) or "/" in text]
    if len(given) > 1:
        raise UserError(f"Data sets are kept in one place, not in {' and '.join(map(shown, given))}; give one.")
    kept = given[0].removeprefix(KEY) if given else f"{options.root}/data"
    try:
        root = places.at(kept)
    except ValueError as error:
        raise UserError(f"{KEY}{shown(kept)} is not valid: it must be {error}.") from None
    names, terminal = [text for text in options.names if text not in given], Terminal()
    chosen = [catalogue.named(root, name) for name in names] or catalogue.folders(root)
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
