"""The verb `search`: Ray Tune runs the units of a search, and the table decides which ones there are.

The only file that imports ray.tune. A unit is a trial of Tune's, in an actor that the next unit reuses; Tune places it,
repeats it when its worker dies, and keeps nothing: what it would forget in a crash (running trials, rungs) is a
function of the table.
"""

import logging
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ndm.data.manifest import check
from ndm.likelihood.statistics import mean
from ndm.runs import SEARCH, RunFolder
from ndm.runtime.session import gpus, resolve_workers, session
from ndm.runtime.shelf import kept
from ndm.runtime.train import clear
from ndm.runtime.workspace import data_of
from ndm.search import report
from ndm.search.config import Search
from ndm.search.course import Course, Unit
from ndm.search.desk import TRACE, Desk
from ndm.search.findings import Findings
from ndm.search.plan import Plan, Trial
from ndm.search.record import check_same, conclude, publish, summary_run
from ndm.search.table import Table
from ndm.search.trial import Job, run
from ndm.terminal import Terminal

SECONDS = 2.0
"""Between two looks at what the trials are at."""


def search(asked: Search, *, fresh: bool, terminal: Terminal) -> tuple[Course, Path, Findings]:
    """Carry a search to its end, from wherever an earlier call left it; returns it with its report.

    Raises:
        UserError: a circumstance the user can mend.
        KeyboardInterrupt: it was interrupted; the same call goes on.
    """
    plan = Plan(asked)
    plan.check()
    root = Path(plan.base.storage.root).absolute()
    folder = RunFolder(root / asked.name)
    with folder.lock():
        if fresh:
            _clear(folder)
        with kept(plan.base.storage.store, folder, terminal) as publish_run:
            check_same(folder, asked)
            workers = resolve_workers(plan.workers, terminal.say if plan.base.scaling.queue else None)
            table = Table(folder.path)
            table.forgive()
            folder.write(SEARCH, {"digest": asked.digest(), "search": asked.model_dump(mode="json")})
            course = Course(plan, table)
            if course.over():
                terminal.say(f"The search {folder.name} is finished; --fresh starts it again from the beginning.")
                page, found = report.write(course, folder.path)
            else:
                with summary_run(plan, folder, terminal) as spool, session(root, workers):
                    publish_run()
                    try:
                        _run(course, root, folder, terminal)
                    except KeyboardInterrupt:
                        terminal.say("Stopped; the same command goes on from the last checkpoints.")
                        raise
                    finally:
                        page, found = publish(course, folder, spool)
            conclude(course, root, terminal)
    return course, page, found


def _clear(folder: RunFolder) -> None:
    """Move an earlier search aside, with the runs of its trials; errors as for `runtime.train.clear`."""
    for path in sorted(folder.path.parent.glob(f"{folder.name}-*")):
        trial = RunFolder(path)
        if path.name.removeprefix(f"{folder.name}-").isdecimal() and trial.exists:
            with trial.lock():
                clear(trial.experiment(), trial)
    folder.clear()


def _run(course: Course, root: Path, folder: RunFolder, terminal: Terminal) -> None:
    """Hand units to Tune until the search is over."""
    plan, table = course.plan, course.table
    data = data_of(plan.base, root, terminal)
    check(data)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk: Any = ray.remote(num_cpus=0)(Desk)
    desk = desk.options(scheduling_strategy=here).remote(plan.search, root, table.folder, data)
    most = plan.search.concurrency or _room(plan)
    terminal.say(
        f"Searching {folder.name}: {plan.search.trials} trials and the baseline, {len(plan.search.seeds)} seed(s), "
        f"{most} at a time ..."
    )
    score = plan.search.score

    def unit(config: dict[str, Any]) -> None:
        trial = Trial(**config["trial"])
        failed = run(Job(trial, config["rung"], config["flops"], score, root), desk)
        tune.report({"failed": failed})

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # tracebacks of trials, which are in their folders
    units = Units(course, most, terminal)
    tuner = tune.Tuner(
        tune.with_resources(unit, _resources(plan)),
        tune_config=tune.TuneConfig(num_samples=-1, search_alg=units, reuse_actors=True),
        run_config=tune.RunConfig(
            name=f"{folder.name}-{time.time_ns()}",  # never reused: the table decides what is resumed
            storage_path=str(root / ".ray" / "tune"),
            failure_config=tune.FailureConfig(max_failures=plan.search.max_failures),
            callbacks=[Watch(desk, terminal)],
            verbose=0,
        ),
    )
    tuner.fit()


def _room(plan: Plan) -> int:
    """Trials that the cluster has room for at a time."""
    cpus, found = int(ray.cluster_resources().get("CPU", 1)), gpus()
    if plan.workers > 1:
        return max((found or cpus) // plan.workers, 1)
    return max(min(cpus, int(found / plan.search.gpus)) if found else cpus, 1)


def _resources(plan: Plan) -> dict[str, float]:
    """Of the process of a trial: that of its one worker; or none to speak of, but the driver's node, whose workers then
    take their own. A CPU for the process would leave none for its workers, and everything would wait for ever.
    """
    if plan.workers > 1:
        return {f"node:{ray.util.get_node_ip_address()}": 0.001}
    return {"CPU": 1.0, "GPU": plan.search.gpus} if gpus() else {"CPU": 1.0}


class Units(Searcher):
    """Gives Tune the next unit when there is room for one."""

    def __init__(self, course: Course, most: int, terminal: Terminal) -> None:
        super().__init__(metric=None, mode=None)
        self._course, self._most, self._terminal = course, most, terminal
        self.running: dict[str, Unit] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next unit; None while there is no room for one, or none to be had before another ends."""
        if len(self.running) >= self._most:
            return None
        unit = self._course.next({unit.trial for unit in self.running.values()})
        if unit is None:
            assert self.running or self._course.over(), "a search that is not over has something to do"
            return None if self.running else Searcher.FINISHED
        self.running[trial_id] = unit
        trial = self._course.trials[unit.trial]
        return {"trial": trial._asdict(), "rung": unit.rung, "flops": self._course.plan.flops(trial, unit.rung)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A unit has ended; `error` if its worker died too often."""
        unit = self.running.pop(trial_id)
        course, trial = self._course, self._course.trials[unit.trial]
        if error:
            name = course.plan.run_name(trial)
            course.table.fail(trial.number, f"its worker failed too often, see {TRACE} of the run {name}", final=False)
        self._terminal.say(outcome(course, unit))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the table has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Never."""
        raise AssertionError("a search is resumed from its table")


def outcome(course: Course, unit: Unit) -> str:
    """What came of a unit, in a line."""
    trial, standing = course.trials[unit.trial], course.standings()[unit.trial]
    who = f"trial {trial.number:03d} ({course.plan.name(trial)}, seed {trial.seed})"
    if (failure := course.table.failure(unit.trial)) is not None:
        return f"{who} failed: {failure}"
    rung = course.rungs(trial)[unit.rung]
    found, rungs = mean(rung.bits), len(course.plan.search.pruner.shares())
    goes = {"ready": "goes on", "waiting": "waits for others", "stopped": "stops here", "finished": "is finished"}
    return (
        f"{who}, rung {unit.rung + 1} of {rungs}: {found.value:.4f} +- {found.error:.4f} bits/dim after "
        f"{rung.made['examples']} examples; {goes[standing.status]}"
    )


class Watch(TrialProgressCallback):
    """Shows what the trials are at, in the place of what Tune would show."""

    def __init__(self, desk: Any, terminal: Terminal) -> None:
        super().__init__()
        self._desk, self._terminal, self._last = desk, terminal, 0.0

    def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
        """Nothing: `Units` says what came of a unit."""

    def _print(self, msg: str) -> None:
        del msg

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        """Called by Tune many times a second."""
        del iteration, trials, info
        if time.monotonic() - self._last < SECONDS:
            return
        self._last = time.monotonic()
        at_work: dict[int, tuple[int, int]] = ray.get(self._desk.progress.remote())
        self._terminal.progress("  ".join(f"{index:03d}: {seen}/{goal}" for index, (seen, goal) in at_work.items()))
