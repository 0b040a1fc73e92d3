"""Takes spooled records to the tracking server, so that sending a record a second time changes nothing there.

Metric rows of equal (key, value, time, step) are one row to MLflow; tags, status and artifacts overwrite.
Images get the file names of MLflow's own `log_image` (the UI reads key, step and time from them), except that
the random part is derived from the record: `log_image` would store a second copy.
"""

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ndm.tracking.spool import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS_A_CALL = 1000  # MLflow's limit
THUMBNAIL = 256  # pixels, the longer side, as `log_image` makes them


def send(client: "MlflowClient", run_id: str, folder: Path, records: Sequence[Record]) -> None:
    """Sends metric records together, or one record of another kind; all of it is on the server on return."""
    from mlflow.entities import Metric

    record = records[0]
    match record["kind"]:
        case "metrics":
            rows = [Metric(k, v, r["time"], r["step"]) for r in records for k, v in r["values"].items()]
            for i in range(0, len(rows), METRICS_A_CALL):
                client.log_batch(run_id, metrics=rows[i : i + METRICS_A_CALL], synchronous=True)
        case "image":
            send_image(client, run_id, inside(folder, record["file"]), record)
        case "artifact":
            client.log_artifact(run_id, str(inside(folder, record["file"])), record["folder"] or None)
        case "tags":
            for key, value in record["tags"].items():
                client.set_tag(run_id, key, value, synchronous=True)
        case "status" if record["status"] == "RUNNING":
            client.update_run(run_id, "RUNNING")
        case "status":
            client.set_terminated(run_id, record["status"], record["time"])
        case kind:
            raise AssertionError(f"{kind} is no kind of a record")


def inside(folder: Path, file: str) -> Path:
    """A recorded file or directory of the run's folder.

    Raises:
        ValueError: it leads out of the folder, by its name or by a link on the way or in it.
    """
    path, home = folder / file, folder.resolve()
    for found in (path, *path.rglob("*")):
        if not found.resolve().is_relative_to(home):
            raise ValueError("it leads out of the run's folder")
    return path


def send_image(client: "MlflowClient", run_id: str, png: Path, record: Record) -> None:
    """One picture, under the path by which MLflow's pages know the image of a key and step."""
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
    from PIL import Image

    key, step, time = record["key"], record["step"], record["time"]
    unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{run_id}/{key}/{step}/{time}")
    stem = f"{key.replace('/', '~')}+step+{step}+timestamp+{time}+{unique}"
    with TemporaryDirectory() as temporary:
        shutil.copyfile(png, Path(temporary, f"{stem}.png"))
        with Image.open(png, formats=("PNG",)) as image:
            scale = THUMBNAIL / max(image.size)
            size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
            image.resize(size).save(Path(temporary, f"{stem}+compressed.webp"))
        client.log_artifacts(run_id, temporary, "images")
    client.set_tag(run_id, MLFLOW_LOGGED_IMAGES, True, synchronous=True)


def refused(error: Exception) -> bool:
    """Whether the record is at fault, not the server or the way to it, so that no repetition would help."""
    from mlflow.exceptions import MlflowException
    from PIL import UnidentifiedImageError

    match error:
        case MlflowException():
            return error.get_http_status_code() == 400
        case FileNotFoundError() | UnidentifiedImageError():
            return True
        case OSError(response=object(status_code=status)):  # of the HTTP library, for artifacts
            return status in (400, 413)
        case _:
            return not isinstance(error, OSError)
