"""Searches over experiments at equal compute: points, rungs, a durable table, and what may be concluded from it.

Ray and Tune read some settings once, when they are imported, so they are made here.
"""

import os

from ndm import runtime as runtime  # makes those of Ray

for _key, _value in {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no files beside the table
    "RAY_AIR_NEW_OUTPUT": "0",  # prints whatever it is told
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C comes to the command
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}.items():
    os.environ.setdefault(_key, _value)
