"""The thread that takes a run's spool to the tracking server, in order, for as long as it takes."""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ndm.tracking import spool
from ndm.tracking.client import connect, masked, reason
from ndm.tracking.send import METRICS_A_CALL, refused, send
from ndm.tracking.spool import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

CURSOR, LOCK = "spool.cursor", "spool.lock"
PERIOD = 0.5  # seconds between looks at the file, and the first pause after a failure
LONGEST_PAUSE = 4.0

log = logging.getLogger("ndm.tracking")


def rewind(folder: Path) -> None:
    """From now on the next Forwarder on this folder sends everything: the run is another one."""
    (folder / CURSOR).unlink(missing_ok=True)


class Forwarder:
    """Sends the records in `folder` to run `run_id` at `uri`, from where the last Forwarder on it stopped.

    Never raises into the training: while the server is lost the records wait in the file. Several processes
    may have one on the same folder; a lock lets one of them send at a time. What a killed process had sent
    without noting it in the cursor is sent again, which the server does not notice (see `ndm.tracking.send`).
    """

    def __init__(self, folder: Path, uri: str, run_id: str) -> None:
        self._folder, self._uri, self._run_id = Path(folder), uri, run_id
        self._client: MlflowClient | None = None
        self._lost = False
        self._closing, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ndm-tracking", daemon=True)
        self._thread.start()

    def close(self, timeout: float) -> int:
        """Sends the rest, for at most `timeout` seconds; how many records are left to the next Forwarder."""
        self._closing.set()
        self._thread.join(timeout)
        self._stop.set()
        return self.pending()

    def pending(self) -> int:
        """The number of records in the file that are not known to be on the server."""
        return sum(1 for _ in self._unsent())

    def _run(self) -> None:
        pause = PERIOD
        while not self._stop.is_set():
            try:
                if self._send_next():
                    self._report_back()
                    pause = PERIOD
                elif self._closing.is_set() and not self.pending():
                    return
                else:
                    self._wait(PERIOD)
            except Exception as error:
                self._report_lost(error)
                self._wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _wait(self, seconds: float) -> None:
        """`close` cuts a pause short, and after it there is no time for long ones."""
        if self._closing.is_set():
            self._stop.wait(PERIOD)
        else:
            self._closing.wait(seconds)

    def _unsent(self) -> Iterator[tuple[Record | None, int]]:
        file = self._folder / spool.FILE
        try:
            start = int((self._folder / CURSOR).read_text())
            with file.open("rb") as lines:
                lines.seek(start - 1)
                start *= lines.read(1) == b"\n"
        except (OSError, ValueError):
            start = 0  # no cursor, or one that a power cut has spoilt: to send everything again does no harm
        if file.exists():
            yield from spool.read(file, start)

    def _send_next(self) -> bool:
        """Sends the next records; False if there are none or another process is at it."""
        if next(self._unsent(), None) is None:
            return False
        lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        try:
            self._client = self._client or connect(self._uri)
            records, end = self._next_records()
            if records:
                self._deliver(self._client, records)
            if end:  # else another process sent them just before the lock was free
                new = self._folder / f"{CURSOR}.new"
                new.write_text(str(end))
                new.replace(self._folder / CURSOR)
            return end > 0
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing would leave it with a child forked in the meantime
            os.close(lock)

    def _next_records(self) -> tuple[list[Record], int]:
        """Metric records up to a full call, or one other record; and the place in the file after them."""
        records: list[Record] = []
        values = end = 0
        for record, after in self._unsent():
            if record is None:
                log.error("A line of %s that ends at byte %d is damaged and left out.", spool.FILE, after)
            else:
                is_metrics = record["kind"] == "metrics"
                values += len(record["values"]) if is_metrics else METRICS_A_CALL
                if records and (not is_metrics or values > METRICS_A_CALL):
                    break
                records.append(record)
            end = after
            if values >= METRICS_A_CALL:
                break
        return records, end

    def _deliver(self, client: "MlflowClient", records: list[Record]) -> None:
        """Sends; a record that the server will never take is left out and does not hold up the others."""
        try:
            send(client, self._run_id, self._folder, records)
        except Exception as error:
            if not refused(error):
                raise
            if client.get_run(self._run_id).info.lifecycle_stage != "active":
                raise RuntimeError(f"run {self._run_id} is deleted there") from None
            if len(records) > 1:
                for record in records:
                    self._deliver(client, [record])
            else:
                log.error("A record is left out, MLflow does not take it (%s): %s", reason(error), records[0])

    def _report_lost(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            where = masked(self._uri)
            log.warning("Tracking at %s is lost (%s); records wait in %s.", where, reason(error), spool.FILE)

    def _report_back(self) -> None:
        if self._lost:
            self._lost = False
            log.warning("Tracking at %s is back; the records that waited are being sent.", masked(self._uri))
