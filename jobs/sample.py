"""Draw samples from a trained run, as a picture and an npz.

RUN is a run's name or the experiment it was trained from; sampler.* and monitor.samples may be overridden.
"""

import sys
from argparse import Namespace

from ndm.cli import job


def main(options: Namespace) -> None:
    from ndm.runtime.report import report_samples
    from ndm.runtime.verbs import on_run
    from ndm.terminal import Terminal

    terminal = Terminal()
    with on_run(options.experiment, options.overrides, terminal, ray=False) as (workspace, spool):
        from ndm.runtime.evaluate import sample

        report_samples(sample(workspace, spool), terminal)


if __name__ == "__main__":
    sys.exit(job(main, __doc__, target="RUN"))
