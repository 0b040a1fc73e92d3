"""Runs `ndm` as a user does, and leaves no process behind, whatever happens.

`ndm` and `Command` take a process of their own. `here` is the same command in the process of the tests, in a few
seconds: for what is not about processes. In the Ray that the tests share, its workers are there already.

Every command starts a session in the sense of the operating system; all that it starts stays in it, also what outlives
the command. So what is left of a command can be found and ended by the session's number, and nobody else is touched.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.entities import Run

from ndm import cli

REPOSITORY = Path(__file__).resolve().parents[1]
LONG = 600.0  # seconds until a test gives up; nothing waits longer than it must

RAY_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Helpers of Ray that wait a minute for a cluster that died before they end."""

TINY = (
    "digits-tiny",
    "training.examples=5120",
    "monitor.log_every=640",
    "monitor.validate_every=2560",
    "monitor.checkpoint_every=1280",
)
"""Eight records, two validations, four checkpoints."""


class Command:
    """`ndm VERB ARGUMENTS`, run by the verb's script in `folder`; leaving the block ends all that is left of it."""

    def __init__(self, folder: Path, verb: str, *arguments: str) -> None:
        number = len(list(folder.glob("*.stdout")))
        self._stdout, self._stderr = (folder / f"{number}-{verb}.{name}" for name in ("stdout", "stderr"))
        script = [sys.executable, str(REPOSITORY / "jobs" / f"{verb}.py"), *arguments]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "platform")}
        # Not pipes: a process that outlives the command would hold them open.
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                script,
                cwd=folder,
                env=environment,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                # As at a terminal, also where the tests run in the background and Ctrl-C is ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end = time.monotonic() + LONG
        while self.running() and time.monotonic() < end:
            for process in self.running():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.poll()
            time.sleep(0.1)

    @property
    def output(self) -> str:
        return self._stdout.read_text()

    @property
    def errors(self) -> str:
        return self._stderr.read_text()

    def running(self, title: str = "") -> list[psutil.Process]:
        """The command and all that it started and that is still alive, with a title that begins so."""
        found: list[psutil.Process] = []
        for pid in _pids(self.process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was listed
                if _title(process := psutil.Process(pid)).startswith(title):
                    found.append(process)
        return found

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something that the command does."""
        end = time.monotonic() + LONG
        while not condition():
            assert self.process.poll() is None, f"the command ended before\n{self.output}\n{self.errors}"
            assert time.monotonic() < end, f"waited in vain\n{self.output}\n{self.errors}"
            time.sleep(0.02)

    def kill(self) -> None:
        """Only the command itself, as the out-of-memory killer would; the workers that it leaves have to end."""
        self.process.kill()
        assert self.ended(but=RAY_AGENTS) == -signal.SIGKILL

    def cut(self) -> None:
        """All of it at once, as when the machine loses its power."""
        for process in self.running():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert self.ended(but=RAY_AGENTS) == -signal.SIGKILL

    def interrupt(self) -> None:
        """Ctrl-C at a terminal: it reaches every process of the foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self, but: tuple[str, ...] = ()) -> int:
        """The exit status, when nothing is left of the command, but for processes with such titles."""
        status = self.process.wait(LONG)
        end = time.monotonic() + LONG
        while left := [title for title in map(_title, self.running()) if not title.startswith(but)]:
            assert time.monotonic() < end, f"left behind: {left}"
            time.sleep(0.05)
        return status


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


def _pids(session: int) -> list[int]:
    """The processes of a session that are alive."""
    alive: list[int] = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
    return alive


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return " ".join(process.cmdline())
    return ""
