"""The command line of a tracking server for one person on one machine."""

import sys
from pathlib import Path

from ndm.errors import UserError
from ndm.tracking.client import masked


def ui_command(uri: str, port: int = 5000) -> list[str]:
    """Serves the database `uri` ("sqlite:////path/mlflow.db") and its UI on the loopback address only.

    One worker and no job runner: MLflow's defaults take four times the memory and the start-up time.

    Raises:
        UserError: `uri` is a server already.
    """
    if not uri.startswith("sqlite:///"):
        raise UserError(f"{masked(uri)} is a tracking server already: open it in a browser.")
    artifacts = Path(uri.removeprefix("sqlite:///")).parent / "artifacts"
    return [
        *("env", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "MLFLOW_DISABLE_TELEMETRY=true"),
        *(
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ),
        *("--backend-store-uri", uri, "--artifacts-destination", str(artifacts)),
    ]
