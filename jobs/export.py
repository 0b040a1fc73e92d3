"""Write a trained run as a folder to hand on: weights, configuration, card, samples, scores, and their hashes.

RUN is a run's name, RUN@best, RUN@12800 or the experiment it was trained from; evaluation.ema, sampler.* and samples.*
may be overridden. The folder is exports/RUN beside the folder of runs; the same command again leaves it as it is.
"""

import sys
from argparse import Namespace
from functools import partial

from ndm.cli import job

SHORT = {"sampler": "sampler.kind", "steps": "sampler.steps", "eta": "sampler.eta", "count": "samples.count"}


def main(options: Namespace) -> None:
    from ndm.runtime.export import check, export
    from ndm.runtime.verbs import on_run
    from ndm.terminal import Terminal

    terminal, first = Terminal(), partial(check, register=options.register)
    with on_run(options.experiment, options.overrides, terminal, check=first) as (workspace, _):
        terminal.table(export(workspace, options.to, options.register))


if __name__ == "__main__":
    sys.exit(
        job(
            main,
            __doc__,
            target="RUN",
            short=SHORT,
            to=("FOLDER", "another folder than exports/RUN"),
            register=("NAME", "also make it a version of this model in MLflow's registry"),
        )
    )
