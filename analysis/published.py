"""Published numbers of NDM and its peers (published.csv), and those that stand beside runs of the very same data.

Data sets that share a name in papers differ, the two small ImageNets by a quarter of a bit: a number whose source does
not say which of them it is of stands beside no run.
"""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

from analysis.run import DataSet
from analysis.table import Table

FILE = Path(__file__).with_name("published.csv")
UNKNOWN = "unknown"
ONLY = "1"
"""The version of data of which there is one, as manifests begin theirs where the originals were read."""

ALLOWED = {
    "version": (ONLY, "oord", "chrabaszcz", UNKNOWN),
    "estimator": ("bound", "ODE", "samples", UNKNOWN),
    "dequantisation": ("none", "uniform", "truncated normal", "variational", UNKNOWN),
    "augmentation": ("none", "flips", "yes", UNKNOWN),
    "unit": ("bits/dim", "FID"),
    "certainty": ("first-hand", "second-hand"),
}
"""Values of columns; augmentation "yes" is one that the source does not describe."""


class Published(NamedTuple):
    """A number and how it was made, as far as its source says."""

    method: str
    data: str
    """What papers call the data: cifar10, imagenet32."""
    version: str
    estimator: str
    dequantisation: str
    augmentation: str
    value: float
    unit: str
    source: str
    certainty: str
    """First-hand: read in the authors' text or code; second-hand: in what others say of it."""

    @property
    def name(self) -> str | None:
        """Of its data as our manifests have it; None where the source does not tell."""
        if self.version == UNKNOWN:
            return None
        return self.data if self.version == ONLY else f"{self.data}-{self.version}"

    def is_of(self, data: DataSet) -> bool:
        """Whether it is of these data: the same name, and the published files, whatever was held out of training."""
        return self.name == data.name and data.version.partition("-")[0] == ONLY


@cache
def published() -> tuple[Published, ...]:
    """All of them, in the order of the file."""
    with FILE.open(newline="") as file:
        return tuple(Published(value=float(row.pop("value")), **row) for row in csv.DictReader(file))


def beside(data: DataSet) -> Table:
    """The numbers of these data; the notes say what is left out, and why."""
    same = [row for row in published() if row.is_of(data)]
    near = [row for row in published() if not row.is_of(data) and data.name.partition("-")[0] == row.data]
    columns = ["method", "value", "estimator", "dequantisation", "augmentation", "certainty", "source"]
    rows = [
        [row.method, _value(row), row.estimator, row.dequantisation, row.augmentation, row.certainty, row.source]
        for row in sorted(same, key=lambda row: (row.unit, row.value))
    ]
    if same:
        notes = [
            "First-hand numbers were read in the authors' own text or code, second-hand ones in what others say of it. "
            "None was measured here, and budgets and networks differ, so no test compares them with a run."
        ]
    else:
        notes = [f"No published number that could be sourced is known to be of {data}."]
    for why, rest in (
        ("their sources do not say which version of the data they are of", [row for row in near if row.name is None]),
        ("they are of another version of the data", [row for row in near if row.name is not None]),
    ):
        if rest:
            notes.append(f"Left out, as {why}: {'; '.join(f'{row.method} {_value(row)}' for row in rest)}.")
    return Table(f"Published numbers of {data}", columns, rows, notes)


def _value(row: Published) -> str:
    return f"{row.value:g} {row.unit}"
