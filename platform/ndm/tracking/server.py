"""The command line of a tracking server for one person on one machine."""

import sys

from ndm.errors import UserError
from ndm.tracking.client import NO_PICKLES, masked
from ndm.tracking.database import SQLITE, artifacts_of


def ui_command(uri: str, port: int = 5000) -> list[str]:
    """Serves the database `uri` ("sqlite:////path/mlflow.db") and its UI on the loopback address only.

    One worker and no job runner: MLflow's defaults take four times the memory and the start-up time.

    Raises:
        UserError: `uri` is a server already.
    """
    if not uri.startswith(SQLITE):
        raise UserError(f"{masked(uri)} is a tracking server already: open it in a browser.")
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", **NO_PICKLES}
    environment = [f"{name}={value}" for name, value in settings.items()]
    address = f"--host 127.0.0.1 --port {port} --workers 1"
    storage = ["--backend-store-uri", uri, "--artifacts-destination", str(artifacts_of(uri))]
    mlflow = [sys.executable, "-m", "mlflow", "server"]
    return ["env", *environment, *mlflow, *address.split(), *storage]
