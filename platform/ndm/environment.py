"""What the environment of a process says of the cluster that it belongs to, where nothing else does."""

import os

ROOT, STORE, TRACKING = "NDM_ROOT", "NDM_STORE", "MLFLOW_TRACKING_URI"
"""The folder of runs, the place of what outlives a node, and the tracking server."""
IN_JOB = "NDM_JOB"
"""Set for what runs as a job of a cluster."""


def root() -> str:
    """The folder of runs."""
    return os.environ.get(ROOT) or "runs"


def store() -> str | None:
    """Where data sets, checkpoints and runs are kept, if not in the folder of runs."""
    return os.environ.get(STORE) or None


def tracking() -> str | None:
    """The MLflow server, if it is not the database in the folder of runs."""
    return os.environ.get(TRACKING) or None


def job_server() -> str | None:
    """The server that RAY_ADDRESS names for jobs; None where it names nothing, or a cluster to be joined."""
    address = os.environ.get("RAY_ADDRESS", "")
    return address if address.startswith(("http://", "https://")) else None
