"""Train an experiment, score every test image, draw samples; the same command again resumes it.

A finished run is not trained again: its results are printed, and --fresh starts over (the old folder is kept aside).
"""

import sys
from argparse import Namespace

from ndm.cli import job


def main(options: Namespace) -> None:
    from ndm import presets
    from ndm.terminal import Terminal

    experiment, terminal = presets.load(options.experiment, options.overrides), Terminal()
    if options.dry_run:
        from ndm.evaluation.describe import describe

        return terminal.say(describe(experiment))
    from ndm.runtime.report import report
    from ndm.runtime.train import train

    report(train(experiment, fresh=options.fresh, terminal=terminal), experiment, terminal)


if __name__ == "__main__":
    sys.exit(
        job(
            main,
            __doc__,
            dry_run="print the resolved experiment, its parameters and the cost of a step, and exit",
            fresh="start over; an earlier run of this name is moved aside",
        )
    )
