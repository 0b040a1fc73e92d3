"""Compare trained runs: what differs between them, bits/dim with paired tests, parts, gaps, samples, cost.

ndm compare RUN RUN ...
ndm compare --filter data=digits transform.kind=residual
--filter takes the scored runs of the folder whose experiments have these values. The baseline is the first run, or that
of --baseline. Runs of different data are never ranked together. root=FOLDER says where to look.
"""

import argparse
import sys
from pathlib import Path

from ndm.cli import guarded


def main() -> None:
    parser = argparse.ArgumentParser("ndm compare", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="RUN")
    parser.add_argument("--filter", nargs="+", action="extend", default=[], metavar="key=value")
    parser.add_argument("--baseline", metavar="RUN", help="the run that the others are compared with")
    parser.add_argument("--published", action="store_true", help="also published numbers of the same data")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a file that ends in .csv, .md, .tex or .html")
    parser.add_argument("--format", metavar="FORM", help="text, csv, md, tex or html, whatever the file's ending")
    options = parser.parse_intermixed_args()

    from analysis.compare import chosen, compare
    from analysis.forms import form_of
    from analysis.output import output

    from ndm import presets

    form = form_of(options.out, options.format)
    places = [word for word in (*options.words, *options.filter) if word.startswith(("root=", "storage.root="))]
    root = Path(presets.storage([f"storage.{word.removeprefix('storage.')}" for word in places]).root)
    names, filters = ([w for w in words if w not in places] for words in (options.words, options.filter))
    output(form(compare(chosen(root, names, filters), options.baseline, options.published)), options.out)


if __name__ == "__main__":
    sys.exit(guarded(main))
