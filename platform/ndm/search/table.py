"""The durable table of a search: its points, what each trial has reached, and why one failed.

A folder of small files, each written in one step, so that a crash leaves nothing half said:
    points/002.json             the third point, what it lays on the experiment
    trials/003/rung-1.parquet   bound of each validation image at its second rung, with how it was made
    trials/003/failure.json     why it cannot go on
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from torch import Tensor

from ndm.errors import UserError
from ndm.evaluation.score import read, values_of, write
from ndm.likelihood.statistics import bits_per_dim
from ndm.search.space import Point


class Rung(NamedTuple):
    """What a trial reached at a rung."""

    bits: Tensor
    """Of each validation image, [n]."""
    made: dict[str, Any]
    """`examples`, `flops`, `seconds` (of the workers, since the rung before) and how the bits were made."""


class Table:
    """Reads and writes the files of one search."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rungs: dict[tuple[int, int], Rung] = {}  # what was reached does not change

    def points(self) -> list[Point]:
        """All points, in their order.

        Raises:
            UserError: one is damaged.
        """
        return [_json(path) for path in sorted(self.folder.glob("points/*.json"), key=lambda path: int(path.stem))]

    def add(self, number: int, point: Point) -> None:
        """A new one, or one that is there."""
        if not (path := self.folder / "points" / f"{number:03d}.json").is_file():
            _write(path, point)

    def rungs(self, index: int, first: int = 0) -> tuple[Rung, ...]:
        """What a trial has reached itself, rung by rung from `first` on."""
        found: list[Rung] = []
        while (key := (index, first + len(found))) in self._rungs or self._file(*key).is_file():
            if key not in self._rungs:
                table, made = read(self._file(*key))
                if "draws" in table.column_names:  # as the estimator rounds them
                    made["draws"] = table.column("draws")[0].as_py()
                self._rungs[key] = Rung(bits_per_dim(values_of(table, "nats"), made["dimensions"]), made)
            found.append(self._rungs[key])
        return tuple(found)

    def reach(self, index: int, rung: int, table: pa.Table, made: dict[str, Any]) -> None:
        """A trial has come to a rung, with the scores of the validation images there."""
        write(table, self._file(index, rung), made)

    def fail(self, index: int, reason: str, *, final: bool) -> None:
        """A trial cannot go on; not `final` if the next command is to try again."""
        _write(self._of(index) / "failure.json", {"reason": reason, "final": final})

    def failure(self, index: int) -> str | None:
        """Why a trial cannot go on."""
        path = self._of(index) / "failure.json"
        return _json(path)["reason"] if path.is_file() else None

    def forgive(self) -> None:
        """Forget failures that are not final."""
        for path in self.folder.glob("trials/*/failure.json"):
            if not _json(path)["final"]:
                path.unlink()

    def _of(self, index: int) -> Path:
        return self.folder / "trials" / f"{index:03d}"

    def _file(self, index: int, rung: int) -> Path:
        return self._of(index) / f"rung-{rung}.parquet"


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(content, indent=1))
    os.replace(temporary, path)


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise UserError(f"{path} is damaged: restore it, or start the search afresh with --fresh.") from None
