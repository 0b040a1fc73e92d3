"""Score a trained run: every image of a split, exactly once, by each estimator that is named.

RUN is a run's name, the path of a checkpoint, or the experiment the run was trained from. Short keys:
  estimator=elbo,ode     evaluation.estimators; elbo, elbo_cont_k64, elbo_cont_k64_adaptive, elbo_T100, ode,
                         ode_tn_k1_h1, ode_uniform_k1_exact, ode_variational_k1_h1, ode_decoder_k20_exact, ...
  split=validation       evaluation.split
An interrupted evaluation goes on where it was; what was scored before is not scored again.
"""

import sys
from argparse import Namespace

from ndm.cli import job

SHORT = {"estimator": "evaluation.estimators[]", "split": "evaluation.split", "tolerance": "evaluation.tolerance"}


def main(options: Namespace) -> None:
    from ndm.runtime.evaluate import check, evaluate
    from ndm.runtime.report import report_likelihood
    from ndm.runtime.verbs import on_run
    from ndm.terminal import Terminal

    terminal = Terminal()
    with on_run(options.experiment, options.overrides, terminal, check=check) as (workspace, spool):
        report_likelihood(evaluate(workspace, spool), terminal)


if __name__ == "__main__":
    sys.exit(job(main, __doc__, target="RUN", short=SHORT))
