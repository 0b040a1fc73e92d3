"""What a training records, as lines of a file: nothing here waits for a network.

The file is `spool.jsonl` in the run's folder, one JSON object a line, in the order of the calls.
`ndm.tracking.forward` takes the lines to the tracking server, now or days later.
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

FILE = "spool.jsonl"
KEY = re.compile(r"(?=.{1,250}$)\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
Record = dict[str, Any]


def read(file: Path, start: int = 0) -> Iterator[tuple[Record | None, int]]:
    """The complete lines from byte `start` on: (record, byte after its line); None for what is no record."""
    with file.open("rb") as lines:
        lines.seek(start)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            start += len(line)
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            yield record if _is_record(record) else None, start


def _is_record(found: Any) -> bool:
    """Whether it is of the form that a Spool writes. Names of files are looked at when they are sent."""
    match found:
        case {"kind": "metrics", "time": int(), "step": int(), "values": dict(values)}:
            return all(KEY.fullmatch(key) and isinstance(value, float) for key, value in values.items())
        case {"kind": "image", "time": int(), "step": int(), "key": str(key), "file": str()}:
            return KEY.fullmatch(key) is not None
        case {"kind": "artifact", "time": int(), "file": str(), "folder": str(folder)}:
            return not folder or KEY.fullmatch(folder) is not None
        case {"kind": "tags", "time": int(), "tags": dict(tags)}:
            return all(isinstance(value, str) for value in tags.values())
        case {"kind": "status", "time": int(), "status": str(status)}:
            return status in get_args(Status)
        case _:
            return False


def held(file: Path) -> float:
    """Seconds that commands have held their workers for training: from a start to the last record of the training."""
    total, began, last = 0.0, 0, 0
    for record, _ in read(file):
        match record:
            case {"kind": "status", "status": "RUNNING", "time": now}:
                total, began, last = total + (last - began) / 1000, now, now
            case {"kind": "metrics", "step": step, "time": now} if step > 0:
                last = now
            case _:
                pass
    return total + (last - began) / 1000


class Spool:
    """Writer of one run's records, for one thread of each of any number of processes.

    When a call returns, its record outlives the process (`sync`: the machine). A metric or image whose step
    is not beyond the last recorded one of its key is dropped: a resumed training repeats the steps after its
    checkpoint bit for bit, and they are in the file already.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.path.abspath(folder))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._folder / FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._last: dict[tuple[str, str], int] = {}
        self._result: dict[str, float] = {}
        with self._alone():
            for record, _ in read(self._folder / FILE):
                match record:
                    case {"kind": "metrics", "step": step, "values": values}:
                        self._last.update({("metric", key): step for key in values})
                        self._result.update(values if step == 0 else {})
                    case {"kind": "image", "step": step, "key": key}:
                        self._last[("image", key)] = step
                    case _:
                        pass

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Values after `step` optimiser steps, by name (`train/bits_per_dim`); infinite or NaN at will."""
        new = {key: float(value) for key, value in values.items() if self._is_new("metric", key, step)}
        if new:
            self._append("metrics", step=int(step), values=new)
            self._last.update({("metric", key): int(step) for key in new})

    def results(self, values: Mapping[str, float]) -> None:
        """Values of the finished run, by name, at step 0; a later one of the same name takes the place of the first.

        MLflow draws a metric that has this step alone as bars over runs.
        """
        new = {key: float(value) for key, value in values.items() if self._result.get(key) != float(value)}
        assert all(KEY.fullmatch(key) for key in new), new
        if new:
            self._append("metrics", step=0, values=new)
            self._result.update(new)

    @property
    def recorded(self) -> Mapping[str, float]:
        """All results so far, by name."""
        return self._result

    def image(self, key: str, step: int, png: Path) -> None:
        """A PNG file in the run's folder. It must stay there unchanged."""
        if self._is_new("image", key, step):
            self._append("image", key=key, step=int(step), file=self._inside(png))
            self._last[("image", key)] = int(step)

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file or directory in the run's folder; keeps its name, in `folder` of the run's artifacts."""
        self._append("artifact", file=self._inside(path), folder=folder)

    def tags(self, tags: Mapping[str, str]) -> None:
        self._append("tags", tags=dict(tags))

    def status(self, status: Status) -> None:
        """A training that goes on after a failure says "RUNNING", or the failure before it stands."""
        self._append("status", status=status)

    def sync(self) -> None:
        """Returns when the records are on the disk itself, safe from a power cut."""
        os.fsync(self._file)

    def close(self) -> None:
        self.sync()
        os.close(self._file)

    def _is_new(self, kind: str, key: str, step: int) -> bool:
        assert KEY.fullmatch(key), f"{key!r}: names are letters, digits, _ . - in parts joined by /"
        return step > self._last.get((kind, key), -1)

    def _inside(self, path: Path) -> str:
        relative = Path(os.path.abspath(path)).relative_to(self._folder)
        assert (self._folder / relative).exists(), path
        return relative.as_posix()

    def _append(self, kind: str, **fields: Any) -> None:
        line = (json.dumps({"time": time.time_ns() // 1_000_000, "kind": kind} | fields) + "\n").encode()
        with self._alone():
            while line:
                line = line[os.write(self._file, line) :]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the file, after cutting off the half line of a writer that was killed inside a write."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            size = whole = os.fstat(self._file).st_size
            while whole and os.pread(self._file, 1, whole - 1) != b"\n":
                whole -= 1
            if whole < size:
                os.ftruncate(self._file, whole)
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
