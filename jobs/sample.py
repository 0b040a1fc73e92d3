"""Draw samples from a trained run, as a picture and an npz, and measure how far they are from the data.

RUN is a run's name or the experiment it was trained from; sampler.* and samples.* may be overridden.
"""

import sys
from argparse import Namespace

from ndm.cli import job

SHORT = {"sampler": "sampler.kind", "steps": "sampler.steps", "eta": "sampler.eta", "count": "samples.count"}


def main(options: Namespace) -> None:
    from ndm.runtime.report import report_samples
    from ndm.runtime.sample import check, sample
    from ndm.runtime.verbs import on_run
    from ndm.terminal import Terminal

    terminal = Terminal()
    with on_run(options.experiment, options.overrides, terminal, check=check) as (workspace, spool):
        report_samples(sample(workspace, spool), terminal)


if __name__ == "__main__":
    sys.exit(job(main, __doc__, target="RUN", short=SHORT))
