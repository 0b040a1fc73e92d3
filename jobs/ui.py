"""Open MLflow on the runs of a folder, on this machine only; or say where the server of MLFLOW_TRACKING_URI is."""

import argparse
import os
import sys

from ndm import environment
from ndm.cli import guarded


def main() -> None:
    parser = argparse.ArgumentParser("ndm ui", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", default=environment.root(), help="the folder of runs (storage.root)")
    parser.add_argument("--port", type=int, default=5000, help="default: 5000")
    options = parser.parse_args()

    from pathlib import Path

    from ndm import presets
    from ndm.errors import UserError
    from ndm.tracking.runs import TrackingConfig, resolve_uri
    from ndm.tracking.server import ui_command

    presets.check_environment()
    root = Path(options.root).absolute()
    if (uri := resolve_uri(TrackingConfig(), root)).startswith("http"):
        return print(f"MLflow: {uri}")
    if not (root / "mlflow.db").is_file():
        raise UserError(f"There are no runs in {options.root}/ yet; train one: ndm train digits-tiny")
    command = ui_command(uri, options.port)
    print(f"MLflow: http://127.0.0.1:{options.port}  (Ctrl-C ends it)", flush=True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(guarded(main))
