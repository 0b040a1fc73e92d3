"""The desk of a search, on the node of the command: it alone writes the runs of trials, wherever they are trained."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ndm import tracking
from ndm.data.folders import Folder
from ndm.data.manifest import Manifest
from ndm.evaluation.score import summary
from ndm.runs import RunFolder
from ndm.runtime.channel import Channel
from ndm.runtime.train import check_same, ready
from ndm.runtime.worker import Start, Task
from ndm.runtime.workspace import REPOSITORY, Workspace, home_of
from ndm.search.config import Search
from ndm.search.plan import Plan, Trial
from ndm.search.table import Table
from ndm.terminal import Terminal
from ndm.tracking.spool import Spool

TRACE = "failure.txt"


class Open(NamedTuple):
    """A trial that is being trained."""

    stack: ExitStack
    spool: Spool
    channel: Channel
    goal: int


class Desk:
    """Opens a trial's run for a unit of work, takes what came of it, and closes it."""

    def __init__(self, search: Search, root: Path, folder: Path, data: Folder) -> None:
        self._plan, self._root, self._data = Plan(search), root, data
        self._table = Table(folder)
        self._manifest = Manifest.read(data)
        self._open: dict[int, Open] = {}

    def open(self, trial: Trial, rung: int) -> Task:
        """The run of a trial, made if need be, and what a worker needs for its training to a rung.

        Raises:
            UserError: the run is in use, belongs to another experiment, or the tracking server does not answer.
        """
        self.close(trial.number)  # a worker that died has not
        experiment = self._plan.experiment(trial)
        folder = RunFolder(self._root / self._plan.run_name(trial))
        counted, stop = self._plan.cost(trial.point), self._plan.stops(trial.point)[rung]
        stack = ExitStack()
        with stack:
            stack.enter_context(folder.lock())
            check_same(folder, experiment)
            workspace = Workspace(experiment, self._root, folder, self._data, self._manifest, Terminal())
            ready(workspace.home)
            run_id = workspace.open_tracking_run(
                str(self._plan.workers),
                counted,
                title=self._plan.name(trial),
                tags={**self._tags(trial), "rung": str(rung)},
            )
            folder.write("experiment", experiment.model_dump(mode="json"))
            spool = Spool(folder.path)
            stack.callback(spool.close)
            spool.tags(tracking.provenance(REPOSITORY))
            spool.status("RUNNING")
            stack.enter_context(workspace.forwarding(run_id))
            channel = Channel(folder.path, self._manifest.levels)
            self._open[trial.number] = Open(stack.pop_all(), spool, channel, stop)
        return Task(
            experiment.model_dump(mode="json"),
            workspace.home,
            self._data,
            run_id,
            counted.step_flops,
            channel,
            stop,
            self._start(trial),
        )

    def _start(self, trial: Trial) -> Start | None:
        """The checkpoint from which a child begins."""
        if trial.parent is None:
            return None
        folder = RunFolder(self._root / self._plan.run_name(trial._replace(number=trial.parent)))
        name = f"{self._plan.stops(trial.point)[trial.born - 1]:012d}"
        return Start(home_of(folder.experiment(), folder), name)

    def reach(self, trial: Trial, rung: int, table: pa.Table, made: dict[str, Any]) -> None:
        """What a trial has reached: into its run, then into the table."""
        found = summary(table, self._manifest.dimensions, self._plan.search.score.seed)["bits_per_dim"]
        values = {
            "search/bits_per_dim": found["value"],
            "search/bits_per_dim_se": found["error"],
            "search/compute_share": made["flops"] / self._plan.budget,
        }
        spool = self._open[trial.number].spool
        spool.metrics(made["examples"], values)
        spool.results({"search/flops_ratio": self._plan.flops_ratio(trial.point)})
        self._table.reach(trial.number, rung, table, made)

    def fail(self, trial: Trial, reason: str, *, final: bool) -> None:
        """A trial cannot go on."""
        self._table.fail(trial.number, reason, final=final)

    def trace(self, trial: Trial, text: str) -> None:
        """What a worker did not expect, kept for whoever looks into it."""
        folder = self._root / self._plan.run_name(trial)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TRACE).write_text(text)

    def close(self, index: int) -> None:
        """A unit of work has ended; what was recorded is sent by the next command on the run, if not by now."""
        if opened := self._open.pop(index, None):
            opened.channel.finish()
            opened.spool.status("FINISHED")
            opened.stack.close()

    def progress(self) -> dict[int, tuple[int, int]]:
        """For each trial at work: examples seen, and those at its rung."""
        reached = {index: opened.channel.collect()[0].get("position", 0) for index, opened in self._open.items()}
        return {index: (position, self._open[index].goal) for index, position in reached.items()}

    def _tags(self, trial: Trial) -> dict[str, str]:
        return {
            "mlflow.source.name": f"ndm search {self._plan.search.name}",
            "search": self._plan.search.name,
            "variant": self._plan.name(trial),
            "trial": f"{trial.number:03d}",
            "seed": str(trial.seed),
        }
