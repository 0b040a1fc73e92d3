"""Tables among a run's artifacts that the pages of MLflow show as tables, as those of its `log_table`."""

import json
from collections.abc import Sequence
from pathlib import Path

from ndm.tracking.spool import Spool

FOLDER = "tables"
LOGGED = "mlflow.loggedArtifacts"
"""The tag by which MLflow knows them."""

Cell = str | int | float | None


def forget(run: Path, beginning: str) -> None:
    """Leave out, from the next record on, the tables whose names begin so; MLflow keeps them as files."""
    for file in (run / FOLDER).glob(f"{beginning}-*.json"):
        file.unlink()


def record(spool: Spool, run: Path, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """A table in the run's folder, sent with all else that the spool has; a later one of its name takes its place."""
    file = run / FOLDER / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"columns": list(columns), "data": [list(row) for row in rows]}))
    spool.artifact(file, FOLDER)
    known = [{"path": f"{FOLDER}/{path.name}", "type": "table"} for path in sorted(file.parent.glob("*.json"))]
    spool.tags({LOGGED: json.dumps(known)})
