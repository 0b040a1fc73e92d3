"""Per-image bounds of a block of images, and the table that a whole split makes."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ndm.likelihood.elbo import elbo
from ndm.likelihood.statistics import bits_per_dim, mean
from ndm.objectives import Objective, Terms

COLUMNS = ("prior", "reconstruction", "diffusion")


def score(objective: Objective, raw: Tensor, first_id: int, *, seed: int, draws: int, batch: int) -> pa.Table:
    """The bound of the images `raw` (stored values, [N, *shape]), their ids from first_id: nats per image and term."""
    parts: list[Terms] = []
    for start in range(0, len(raw), batch):
        x = objective.model.decoder.encode(raw[start : start + batch])
        parts.append(elbo(objective, x, first_id + start, seed=seed, draws=draws))
    terms = {name: torch.cat([getattr(part, name) for part in parts]).cpu().numpy() for name in COLUMNS}
    total = sum(terms.values())
    ids = range(first_id, first_id + len(raw))
    return pa.table({"id": pa.array(ids, pa.int64()), "nats": total, **terms})


def assemble(blocks: Sequence[pa.Table], images: int) -> pa.Table:
    """One table in the order of ids. Every image of the split is in it exactly once, or this fails."""
    table = pa.concat_tables(blocks).sort_by("id")
    if table.column("id").to_pylist() != list(range(images)):
        raise RuntimeError("The scored images are not the split, each exactly once; no number is reported.")
    return table


def write(table: pa.Table, path: Path, recipe: Mapping[str, Any]) -> None:
    """Parquet, with how the numbers were made in the schema's metadata under "ndm"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    described = table.replace_schema_metadata({"ndm": json.dumps(dict(recipe), sort_keys=True)})
    temporary = path.with_suffix(".partial")
    pq.write_table(described, temporary)
    os.replace(temporary, path)


def read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A table and how it was made."""
    table = pq.read_table(path, use_threads=False)
    return table, json.loads(table.schema.metadata[b"ndm"])


def summary(table: pa.Table, dimensions: int) -> dict[str, dict[str, float]]:
    """Bits per dimension of the bound and of each term: {"value": mean, "error": standard error over images}."""
    result: dict[str, dict[str, float]] = {}
    for name, column in {"bits_per_dim": "nats", **{c: c for c in COLUMNS}}.items():
        values = mean(bits_per_dim(torch.from_numpy(table.column(column).to_numpy().copy()), dimensions))
        result[name] = values._asdict()
    assert math.isclose(result["bits_per_dim"]["value"], sum(result[c]["value"] for c in COLUMNS), abs_tol=1e-9)
    return result
