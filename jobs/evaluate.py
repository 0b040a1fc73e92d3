"""Score a trained run: the bound of every image of a split, exactly once each.

RUN is a run's name or the experiment it was trained from; evaluation.split, .draws and .seed may be overridden.
"""

import sys
from argparse import Namespace

from ndm.cli import job


def main(options: Namespace) -> None:
    from ndm.runtime.report import report_likelihood
    from ndm.runtime.verbs import on_run
    from ndm.terminal import Terminal

    terminal = Terminal()
    with on_run(options.experiment, options.overrides, terminal, ray=True) as (workspace, spool):
        from ndm.runtime.evaluate import evaluate

        report_likelihood(evaluate(workspace, spool), terminal)


if __name__ == "__main__":
    sys.exit(job(main, __doc__, target="RUN"))
