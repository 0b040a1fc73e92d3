"""Runs `ndm` as a user does, and leaves no process behind, whatever happens.

`ndm` and `Command` take a process of their own. `here` is the same command in the process of the tests, in a few
seconds: for what is not about processes. In the Ray that the tests share, its workers are there already.
"""

import contextlib
import io
import json
import os
import signal
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from hosts import Host
from mlflow import MlflowClient
from mlflow.entities import Run
from processes import Process

from ndm import cli

REPOSITORY = Path(__file__).resolve().parents[1]

TINY = (
    "digits-tiny",
    "training.examples=5120",
    "monitor.log_every=640",
    "monitor.validate_every=2560",
    "monitor.checkpoint_every=1280",
)
"""Eight records, two validations, four checkpoints."""


class Command(Process):
    """`ndm VERB ARGUMENTS`, run by the verb's script in `folder`, on this machine or within a host of `hosts`."""

    def __init__(self, folder: Path, verb: str, *arguments: str, within: Host | None = None, **more: str) -> None:
        number = len(list(folder.glob("*.stdout")))
        script = [sys.executable, str(REPOSITORY / "jobs" / f"{verb}.py"), *arguments]
        environment = (within.environment if within else dict(os.environ)) | more
        environment |= {"PYTHONPATH": str(REPOSITORY / "platform")}
        program = [*within.enter(folder), *script] if within else script
        super().__init__(program, folder, folder / f"{number}-{verb}", environment)


def ndm(folder: Path, verb: str, *arguments: str, status: int = 0) -> Command:
    """The command, ended with that status, with nothing left of it."""
    with Command(folder, verb, *arguments) as command:
        assert command.ended() == status, f"{command.output}\n{command.errors}"
    return command


class Said(NamedTuple):
    output: str
    errors: str


def here(folder: Path, verb: str, *arguments: str, status: int = 0) -> Said:
    """The command in this process, ended with that status; it starts Ray if this process has none."""
    output, errors = io.StringIO(), io.StringIO()
    on_termination, argv = signal.getsignal(signal.SIGTERM), sys.argv
    with contextlib.chdir(folder), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            ended = cli.main([verb, *arguments])
        finally:
            signal.signal(signal.SIGTERM, on_termination)
            sys.argv = argv
    said = Said(output.getvalue(), errors.getvalue())
    assert ended == status, said
    return said


def refusal(folder: Path, verb: str, *arguments: str) -> str:
    """What a command says that refuses: one line on standard error, and status 2."""
    said = here(folder, verb, *arguments, status=2)
    assert said.errors.count("\n") == 1, said.errors
    return said.errors


class Trained(NamedTuple):
    """A folder in which TINY was trained without an interruption, and what its command said."""

    folder: Path
    run: Path
    output: str

    @property
    def root(self) -> Path:
        return self.run.parent


@cache
def uninterrupted(base: Path) -> Trained:
    """Train TINY on two workers, once for all tests, which add to the run but change nothing in it."""
    folder = base / "uninterrupted"
    folder.mkdir()
    command = ndm(folder, "train", *TINY)
    (run,) = (path.parent for path in (folder / "runs").glob("*/results.json"))
    return Trained(folder, run, command.output)


def records(run: Path, key: str) -> list[tuple[int, float]]:
    """(step, value) of a metric, in the order in which the run recorded them."""
    file = run / "spool.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    return [(line["step"], line["values"][key]) for line in lines if key in line.get("values", {})]


def checkpoints(run: Path) -> list[int]:
    """Positions of the published checkpoints, oldest first."""
    return sorted(int(path.name) for path in run.glob("checkpoints/[0-9]*"))


def tensors(run: Path, position: int) -> dict[str, bytes]:
    """The files of a checkpoint's model, averaged weights and optimiser."""
    folder = run / "checkpoints" / f"{position:012d}"
    return {part: (folder / f"{part}.safetensors").read_bytes() for part in ("model", "ema", "optimizer")}


def likelihood(run: Path, name: str = "test-elbo_cont_k4") -> pa.Table:
    """The per-image table of a split and an estimator."""
    file = run / "likelihood" / f"{name}.parquet"
    return pq.read_table(file)


class Tracked:
    """What the embedded tracking database of a folder of runs holds."""

    def __init__(self, root: Path) -> None:
        self.client = MlflowClient(f"sqlite:///{root}/mlflow.db")

    @property
    def runs(self) -> list[Run]:
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        return list(self.client.search_runs(experiments))

    @property
    def run(self) -> Run:
        """The only run."""
        (run,) = self.runs
        return run

    def history(self, key: str) -> list[tuple[int, float]]:
        """(step, value) of a metric of the only run, in the order of steps; what was sent twice is there twice."""
        return sorted((m.step, m.value) for m in self.client.get_metric_history(self.run.info.run_id, key))

    def artifacts(self, folder: str | None = None) -> list[str]:
        """Paths of the files among the only run's artifacts, in all folders below."""
        found = self.client.list_artifacts(self.run.info.run_id, folder)
        below = [path for entry in found if entry.is_dir for path in self.artifacts(entry.path)]
        return sorted([entry.path for entry in found if not entry.is_dir] + below)

    def download(self, path: str, into: Path) -> bytes:
        return Path(self.client.download_artifacts(self.run.info.run_id, path, str(into))).read_bytes()
