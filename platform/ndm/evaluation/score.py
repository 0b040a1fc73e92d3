"""Per-image likelihoods of a block of images, the table that a whole split makes, and what the table says."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ndm.errors import UserError
from ndm.likelihood.estimators import SLICES, Estimator
from ndm.likelihood.statistics import bits_per_dim, bootstrap, mean
from ndm.objectives import Objective

PARTS = ("prior", "reconstruction", "diffusion")


def score(objective: Objective, raw: Tensor, first_id: int, estimator: Estimator, *, seed: int, batch: int) -> pa.Table:
    """One row for each image of `raw` (stored values, [N, *shape]), ids from first_id: id, nats, estimator, draws.

    A bound has its parts and the diffusion term by tenths of time besides, the ODE its evaluations and, for the images
    that were checked, the solver's error; all in nats.
    """
    found: dict[str, list[Tensor]] = {}
    for start in range(0, len(raw), batch):
        x = objective.model.decoder.encode(raw[start : start + batch])
        for name, values in estimator.columns(objective, x, first_id + start, seed=seed).items():
            found.setdefault(name, []).append(values)
    columns = {name: _column(torch.cat(values)) for name, values in found.items()}
    ids = pa.array(range(first_id, first_id + len(raw)), pa.int64())
    told = {
        "estimator": pa.array([estimator.name] * len(raw)).dictionary_encode(),
        "draws": pa.array([estimator.draws_per_image] * len(raw), pa.int32()),
    }
    return pa.table({"id": ids, "nats": columns.pop("nats"), **told, **columns})


def _column(values: Tensor) -> pa.Array:
    """[N] as floats, [N, n] as lists of n; NaN is no value."""
    flat = pa.array(values.cpu().numpy().ravel(), pa.float64(), from_pandas=True)
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def assemble(blocks: Sequence[pa.Table], images: int) -> pa.Table:
    """One table in the order of ids. Every image of the split is in it exactly once, or this fails."""
    table = pa.concat_tables(blocks).sort_by("id").unify_dictionaries()
    if table.column("id").to_pylist() != list(range(images)):
        raise RuntimeError("The scored images are not the split, each exactly once; no number is reported.")
    return table


def write(table: pa.Table, path: Path, made: Mapping[str, Any]) -> None:
    """Parquet, with how the numbers were made in the schema's metadata under "ndm"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    described = table.replace_schema_metadata({"ndm": json.dumps(dict(made), sort_keys=True)})
    temporary = path.with_suffix(".partial")
    pq.write_table(described, temporary)
    os.replace(temporary, path)


def read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A table and how it was made.

    Raises:
        UserError: it is damaged.
    """
    try:
        table = pq.read_table(path, use_threads=False)
        return table, json.loads((table.schema.metadata or {})[b"ndm"])
    except (pa.ArrowException, OSError, KeyError, ValueError, RecursionError):
        raise UserError(f"The table {path} is damaged; remove it, and it is made again.") from None


def values_of(table: pa.Table, column: str) -> Tensor:
    """The values that a column has, [n] or [n, width], float64."""
    array = table.column(column).combine_chunks().drop_null()
    width = array.type.list_size if pa.types.is_fixed_size_list(array.type) else None
    flat = torch.from_numpy(np.array((array if width is None else array.flatten()).to_numpy(zero_copy_only=False)))
    return flat if width is None else flat.reshape(-1, width)


def summary(table: pa.Table, dimensions: int, seed: int) -> dict[str, Any]:
    """What a table says, in bits per dimension: means over images with standard errors.

    `bits_per_dim` has the bootstrap's 95 % interval besides, `by_time` is the diffusion term of each tenth of time,
    `solver_error` the mean of the absolute error over the checked images, and `evaluations` are counts (NFE).
    """
    bits = bits_per_dim(values_of(table, "nats"), dimensions)
    result: dict[str, Any] = {"bits_per_dim": mean(bits)._asdict() | bootstrap(bits, seed=seed)._asdict()}
    for part in PARTS:
        if part in table.column_names:
            result[part] = mean(bits_per_dim(values_of(table, part), dimensions))._asdict()
    if "prior" in result:
        whole = sum(result[part]["value"] for part in PARTS)
        assert math.isclose(result["bits_per_dim"]["value"], whole, abs_tol=1e-9)
        slices = bits_per_dim(values_of(table, "diffusion_by_time"), dimensions)
        result["by_time"] = [mean(slices[:, i])._asdict() for i in range(SLICES)]
    if "evaluations" in table.column_names:
        result["evaluations"] = float(values_of(table, "evaluations").mean())
        errors = values_of(table, "solver_error").abs()
        if len(errors):
            result["solver_error"] = float(bits_per_dim(errors, dimensions).mean())
    return result


def unresolved(table: pa.Table, images: int, tolerance: float) -> str | None:
    """Why a table must not be reported: its solver's error is above the standard error that `images` images have.

    The sentence says which tolerance would do: the error falls about as fast as the tolerance. Half a block's images
    are enough to ask.
    """
    if "solver_error" not in table.column_names or len(table) < 2:
        return None
    errors = values_of(table, "solver_error").abs()
    spread = float(values_of(table, "nats").std()) / math.sqrt(images)
    if not len(errors) or float(errors.mean()) <= spread:
        return None
    wanted = 10.0 ** math.floor(math.log10(tolerance * spread / float(errors.mean()) / 2))
    return (
        f"the solver's error, {float(errors.mean()):.2g} nats per image, is above the standard error over the images, "
        f"{spread:.2g}; evaluation.tolerance={wanted:g} would do"
    )
