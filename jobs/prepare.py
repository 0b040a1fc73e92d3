"""Write an experiment's data set as verified shards.

Idempotent: an interrupted preparation goes on, a finished one is checked and left alone.
"""

import os
import sys
from argparse import Namespace

from ndm.cli import job


def main(options: Namespace) -> None:
    from pathlib import Path

    from ndm import presets
    from ndm.data.manifest import check
    from ndm.runtime.workspace import data_of
    from ndm.terminal import Terminal

    experiment, terminal = presets.load(options.experiment, options.overrides), Terminal()
    folder = data_of(experiment, Path(experiment.storage.root).absolute(), terminal, verify=True)
    manifest = check(folder)
    rows = [
        (split, f"{manifest.rows(split)} examples in {len(manifest.splits[split])} shards") for split in manifest.splits
    ]
    terminal.table(
        [
            ("data set", f"{manifest.name} {manifest.version}"),
            *rows,
            ("hash", manifest.hash),
            ("in", os.path.relpath(folder) if isinstance(folder, Path) else str(folder)),
        ]
    )


if __name__ == "__main__":
    sys.exit(job(main, __doc__))
