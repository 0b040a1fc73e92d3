"""A run's folder: where a training keeps its experiment, checkpoints, spool, samples and scores."""

import fcntl
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ndm import files, mistakes, presets
from ndm.config import Experiment
from ndm.errors import UserError

REMEDY = "restore it, or start the run afresh with --fresh."
LONGEST = 2**26
"""Bytes of a record."""
RUN_ID = re.compile(r"[0-9a-f]{32}")
"""As MLflow makes them; it becomes part of a path there."""


class RunFolder:
    """Paths and small JSON records of one run, `<storage.root>/<run name>`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """Folder of `ndm.training.checkpoint`."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Folder of pictures and archives of samples."""
        return self.path / "samples"

    @property
    def likelihood(self) -> Path:
        """Folder of per-image tables."""
        return self.path / "likelihood"

    @property
    def exists(self) -> bool:
        """Whether a training was started here."""
        return (self.path / "experiment.json").is_file()

    def experiment(self) -> Experiment:
        """The experiment that the run was started with.

        Raises:
            UserError: the record is damaged, or of another version of this program.
        """
        record = self.read("experiment")
        try:
            return presets.resolve(record)
        except UserError as error:
            raise UserError(f"experiment.json of the run {self.name} cannot be used; {REMEDY} {error}") from None

    def read(self, record: str) -> dict[str, Any]:
        """A JSON record by name ("experiment", "tracking", "results"); empty if it was not written.

        Raises:
            UserError: it is damaged.
        """
        path = self.path / f"{record}.json"
        try:
            content = json.loads(files.content(path, LONGEST)) if path.is_file() else {}
        except (ValueError, RecursionError, OSError):
            content = None
        run_id = content.get("run_id") if isinstance(content, dict) else None
        if not isinstance(content, dict) or not (run_id is None or RUN_ID.fullmatch(str(run_id))):
            raise UserError(f"{path.name} of the run {self.name} is damaged; {REMEDY}")
        return content

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
        """Hold the run against a second live job; freed by the system when the process ends, however it ends.

        Raises:
            UserError: another job holds it, or the folder of runs cannot be written.
        """
        folder = self.path.parent / ".locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / self.name).open("w")
        except OSError as error:
            raise UserError(
                f"Runs cannot be kept in {self.path.parent} ({error.strerror}); choose another storage.root=..."
            ) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"The run {self.name} is in use by another job; wait for it, stop it, or choose run.name=..."
                ) from None
            yield


SEARCH = "search"
"""The record by which the folder of a search is told."""


def folders(root: Path) -> list[RunFolder]:
    """The runs in a folder of runs, by name; none where there is no such folder."""
    return [folder for folder in _below(root) if folder.exists]


def searches(root: Path) -> list[RunFolder]:
    """The searches in a folder of runs, by name."""
    return [folder for folder in _below(root) if (folder.path / f"{SEARCH}.json").is_file()]


def _below(root: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(root.iterdir())] if root.is_dir() else []


BEST = "best"
SCORE = ("estimator", "split", "images", "data", "bits_per_dim")
"""What a list tells of a score."""


def find(root: Path, target: str, overrides: list[str]) -> tuple[RunFolder, Experiment, str | None]:
    """The trained run that `target` names, its experiment, and the name of the checkpoint if `target` names one.

    A target is a run's name, the path of a run's folder, or an experiment with overrides, each also with a checkpoint
    behind it as in RUN@best and RUN@12800 (examples seen); or the path of a checkpoint.
    Overrides of how it is scored, sampled, stored or watched apply to an existing run; others would be another run.

    Raises:
        UserError: there is no such run.
    """
    target, _, at = target.partition("@")
    if at and at != BEST and not at.isdecimal():
        raise UserError(
            f"{mistakes.shown(at)} is no checkpoint: say @{BEST}, or how many examples it has seen, @12800."
        )
    path, checkpoint = Path(target).absolute(), at.zfill(12) if at.isdecimal() else at or None
    if len(Path(target).parts) > 1 and path.is_dir():
        if path.parent == RunFolder(path.parent.parent).checkpoints:
            path, checkpoint = path.parent.parent, path.name
        root, target = path.parent, path.name
    folder, there = RunFolder(root / target), _names(root)
    if target in there:
        trained = folder.experiment()
        asked = presets.override(trained.model_dump(mode="json"), overrides)
        if asked.digest() != trained.digest():
            raise UserError(
                f"The overrides make another experiment than the run {target} was trained with; name the experiment "
                "instead of the run, or override only evaluation, sampler, samples, scaling, storage, monitor and "
                "tracking."
            )
        return folder, asked, checkpoint
    if not target.endswith((".yaml", ".yml")) and target not in presets.names():
        shown, known = mistakes.shown(target), sorted({*there, *presets.names()})
        hint = mistakes.hint(shown, known, "runs and experiments")
        raise UserError(f"There is no run {shown} under {root.name}/ and no experiment of that name: {hint}")
    experiment = presets.load(target, overrides)
    folder = RunFolder(root / experiment.run_name())
    if not folder.exists:
        words = shlex.join(["ndm", "train", target, *overrides])
        raise UserError(f"There is no run {folder.name} under {root.name}/; train it first: {words}")
    return folder, experiment, checkpoint


def named(root: Path, target: str, overrides: list[str]) -> str:
    """The run's name that a target of `find` stands for, whether the run is there or not."""
    target = target.partition("@")[0]
    is_experiment = target.endswith((".yaml", ".yml")) or target in presets.names()
    return presets.load(target, overrides).run_name() if is_experiment and target not in _names(root) else target


def _names(root: Path) -> set[str]:
    return {folder.name for folder in folders(root)}


def about(folder: RunFolder) -> dict[str, Any]:
    """What a list of runs says of one: its experiment by dotted keys, its data and its bound as far as they are known.

    Raises:
        UserError: a record is damaged.
    """
    if not folder.exists:
        return {"kind": "search"}
    experiment, results = folder.experiment(), folder.read("results")
    scores = results.get("likelihood", {}).get("scores", [])[:1]
    return {
        "kind": "run",
        "experiment": experiment.flat(deciding=True),
        "digest": experiment.digest(),
        "finished": bool(results),
        "scores": [{key: score[key] for key in SCORE} for score in scores],
    }
