"""A run's folder: where a training keeps its experiment, checkpoints, spool, samples and scores."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ndm import presets
from ndm.config import Experiment
from ndm.errors import UserError


class RunFolder:
    """Paths and small JSON records of one run, `<storage.root>/<run name>`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def likelihood(self) -> Path:
        return self.path / "likelihood"

    @property
    def exists(self) -> bool:
        return (self.path / "experiment.json").is_file()

    def experiment(self) -> Experiment:
        return presets.resolve(self.read("experiment"))

    def read(self, record: str) -> dict[str, Any]:
        """A JSON record by name ("experiment", "tracking", "results"); empty if it was not written."""
        path = self.path / f"{record}.json"
        try:
            return json.loads(path.read_text()) if path.is_file() else {}
        except json.JSONDecodeError:
            raise UserError(
                f"{path.name} of the run {self.name} is damaged; restore it, or start the run afresh with --fresh."
            ) from None

    def write(self, record: str, content: dict[str, Any]) -> None:
        """Replace a record in one step."""
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = self.path / f".{record}.json.partial"
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True))
        os.replace(temporary, self.path / f"{record}.json")

    def clear(self) -> None:
        """Move the run's folder aside, so that the name is free; nothing is deleted."""
        if self.path.exists():
            n = 1
            while (aside := self.path.with_name(f"{self.name}.old{n}")).exists():
                n += 1
            shutil.move(self.path, aside)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run against a second live job; freed by the system when the process ends, however it ends."""
        folder = self.path.parent / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / self.name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"The run {self.name} is in use by another job; wait for it, stop it, or choose run.name=..."
                ) from None
            yield


def find(root: Path, target: str, overrides: list[str]) -> tuple[RunFolder, Experiment]:
    """The trained run that `target` names (a run's name, or an experiment with overrides), and its experiment.

    Overrides of how it is scored, sampled, stored or watched apply to an existing run; others would be another run.

    Raises:
        UserError: there is no such run.
    """
    folder = RunFolder(root / target)
    if folder.exists:
        trained = folder.experiment()
        asked = presets.override(trained.model_dump(mode="json"), overrides)
        if asked.digest() != trained.digest():
            raise UserError(
                f"The overrides make another experiment than the run {target} was trained with; name the experiment "
                "instead of the run, or override only evaluation, sampler, scaling, storage, monitor and tracking."
            )
        return folder, asked
    experiment = presets.load(target, overrides)
    folder = RunFolder(root / experiment.run_name())
    if not folder.exists:
        words = " ".join(["ndm train", target, *overrides])
        raise UserError(f"There is no run {folder.name} under {root.name}/; train it first: {words}")
    return folder, experiment
