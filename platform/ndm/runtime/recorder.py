"""What a training writes into its run's folder, on the node of the command that started it."""

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from ndm.evaluation import figures
from ndm.runs import RunFolder
from ndm.tracking.spool import Spool


class Recorder:
    """Metrics into the spool, samples as pictures; what was recorded before a restart is not recorded twice."""

    def __init__(self, run: Path, levels: int) -> None:
        self._folder, self._levels = RunFolder(run), levels
        self._spool = Spool(run)

    def metrics(self, position: int, values: dict[str, float]) -> None:
        self._spool.metrics(position, values)

    def picture(self, position: int, raw: NDArray[Any]) -> None:
        """Stored values of the samples at a position."""
        path = self._folder.samples / f"{position:012d}.png"
        figures.samples(torch.from_numpy(raw.copy()), self._levels, path)
        self._spool.image("samples/ema", position, path)

    def sync(self) -> None:
        """Returns when the records outlive a loss of power."""
        self._spool.sync()
