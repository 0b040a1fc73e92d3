"""Every score that a run has of given weights, out of its per-image tables."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from ndm.errors import UserError
from ndm.evaluation import score

COST = "seconds_per_image"
"""What of a table's record two tables of the same recipe may differ in."""


def scores(folder: Path, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """How each table in `folder` was made, with what it says; of those made as `wanted` says, each recipe once.

    Without an average of the weights in `wanted`, those of the constant decay are meant. First the test split, in it
    first the bounds.

    Raises:
        UserError: a table is damaged.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.parquet")):
        try:
            table, made = score.read(path)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid):
            raise UserError(f"The table {path.name} of the run is damaged; move it away and score again.") from None
        if all(made.get(key) == value for key, value in ({"ema": None} | wanted).items()):
            cost = made.pop(COST)
            said = score.summary(table, made["dimensions"], made["seed"])
            found[json.dumps(made, sort_keys=True)] = {**made, **said, COST: cost}
    return sorted(found.values(), key=lambda each: (each["split"] != "test", "prior" not in each, each["estimator"]))
